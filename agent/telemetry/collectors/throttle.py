"""Whether the box goes slower than it could, and why: heat, or a supply that is too weak."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.model import MetricKind
from agent.telemetry.sample import Sample

# Of the word that the Pi's firmware says (get_throttled): what is so now. The upper half, what ever was, is left out:
# it never goes back to zero.
_FIRMWARE = ((0, "under_voltage"), (1, "frequency_capped"), (2, "throttled"), (3, "soft_temperature_limit"))


@dataclass(frozen=True, slots=True)
class ThrottleCollector:
    """`edge.throttle.active` is 1 while it is so, by cause; `edge.throttle.events` counts, where the kernel does.

    Nothing where the kernel says nothing: virtual machines, and most ARM boards without frequency scaling.
    """

    sys: Path = Path("/sys")

    def collect(self) -> Iterator[Sample]:
        yield from self._supply()
        yield from self._firmware()
        yield from self._cooling()
        yield from self._processor()

    def _supply(self) -> Iterator[Sample]:
        """Alarms of voltages that are too low, such as a Pi's own (drivers/hwmon/raspberrypi-hwmon.c: rpi_volt)."""
        for alarm in sorted(self.sys.glob("class/hwmon/hwmon*/in*_lcrit_alarm")):
            chip = _read(alarm.parent / "name") or alarm.parent.name
            yield from _active("under_voltage", f"{chip}/{alarm.name.split('_')[0]}", _number(alarm))

    def _firmware(self) -> Iterator[Sample]:
        """Only the Raspberry Pi's own kernel has this file; Debian's has the alarm above."""
        word = _number(self.sys / "devices/platform/soc/soc:firmware/get_throttled", 16)
        for bit, cause in _FIRMWARE:
            yield from _active(cause, "firmware", None if word is None else word >> bit & 1)

    def _cooling(self) -> Iterator[Sample]:
        """A processor that is made slower because a thermal zone of the kernel's is over its trip point."""
        for device in sorted(self.sys.glob("class/thermal/cooling_device*")):
            kind = _read(device / "type")
            if kind.startswith(("cpufreq", "cpu-", "cpuidle", "Processor", "thermal-cpufreq")):
                yield from _active("temperature", device.name, _number(device / "cur_state"))

    def _processor(self) -> Iterator[Sample]:
        """How often x86 has throttled by itself, since boot (arch/x86/kernel/cpu/mce/therm_throt.c)."""
        for count in sorted(self.sys.glob("devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")):
            number = _number(count)
            if number is not None:
                attributes = (("edge.throttle.cause", "temperature"), ("hw.id", count.parents[1].name))
                yield Sample("edge.throttle.events", number, "{event}", MetricKind.COUNTER, attributes)


def _active(cause: str, sensor: str, value: int | None) -> Iterator[Sample]:
    if value is not None:
        attributes = (("edge.throttle.cause", cause), ("hw.id", sensor))
        yield Sample("edge.throttle.active", int(value > 0), "1", MetricKind.GAUGE, attributes)


def _read(file: Path) -> str:
    """Empty when it isn't there, or the driver behind it has gone or refuses."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _number(file: Path, base: int = 10) -> int | None:
    try:
        return int(_read(file), base)
    except ValueError:
        return None
