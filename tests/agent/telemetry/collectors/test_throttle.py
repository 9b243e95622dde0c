"""Throttling, from the files of kernels that say so."""

from pathlib import Path

from agent.telemetry.collectors.throttle import ThrottleCollector


def lay(sys: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (sys / name).parent.mkdir(parents=True, exist_ok=True)
        (sys / name).write_text(text)


def found(sys: Path) -> dict[tuple[str, str, str], float]:
    def labels(attributes: tuple[tuple[str, str], ...]) -> tuple[str, str]:
        of = dict(attributes)
        return of["edge.throttle.cause"], of["hw.id"]

    return {(s.name, *labels(s.attributes)): s.value for s in ThrottleCollector(sys).collect()}


def test_a_pi_with_debians_kernel_says_that_its_supply_is_weak(tmp_path: Path) -> None:
    lay(tmp_path, {"class/hwmon/hwmon1/name": "rpi_volt\n", "class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
    assert found(tmp_path) == {("edge.throttle.active", "under_voltage", "rpi_volt/in0"): 1}


def test_a_pi_with_its_own_kernel_says_why_it_is_slow_now_not_what_ever_was(tmp_path: Path) -> None:
    lay(tmp_path, {"devices/platform/soc/soc:firmware/get_throttled": "50004\n"})
    assert {cause: value for (_, cause, _), value in found(tmp_path).items()} == {
        "under_voltage": 0,
        "frequency_capped": 0,
        "throttled": 1,
        "soft_temperature_limit": 0,
    }


def test_a_processor_that_the_kernel_slows_down_is_told_from_a_fan(tmp_path: Path) -> None:
    zone = "class/thermal/cooling_device"
    lay(tmp_path, {f"{zone}0/type": "cpufreq-cpu0", f"{zone}0/cur_state": "2", f"{zone}1/type": "pwm-fan"})
    lay(tmp_path, {f"{zone}1/cur_state": "3"})
    assert found(tmp_path) == {("edge.throttle.active", "temperature", "cooling_device0"): 1}


def test_x86_counts(tmp_path: Path) -> None:
    lay(tmp_path, {"devices/system/cpu/cpu3/thermal_throttle/core_throttle_count": "17\n"})
    assert found(tmp_path) == {("edge.throttle.events", "temperature", "cpu3"): 17}


def test_a_driver_that_went_away_or_talks_nonsense_is_no_failure(tmp_path: Path) -> None:
    lay(tmp_path, {"class/hwmon/hwmon1/in0_lcrit_alarm": "", "class/thermal/cooling_device0/type": "cpufreq-cpu0"})
    lay(tmp_path, {"devices/platform/soc/soc:firmware/get_throttled": "oops"})
    assert found(tmp_path) == {}


def test_this_host_can_be_asked_whatever_it_has() -> None:
    assert all(sample.value >= 0 for sample in ThrottleCollector().collect())
