"""Heat: what counts, for how long, and that a box near the limit doesn't swing."""

from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import HeatConfig
from agent.model import MetricKind
from agent.telemetry.heat import COOL, Heat, step
from agent.telemetry.sample import Sample

CONFIG = HeatConfig(limit_celsius=90.0, cool_celsius=80.0, hold_seconds=30.0)
HOT = Heat("the box is too hot: cpu/1 at 91 degrees Celsius, the limit is 90")


def at(celsius: float, sensor: str = "cpu/1", name: str = "hw.temperature") -> Sample:
    return Sample(name, celsius, "Cel", MetricKind.GAUGE, (("hw.id", sensor), ("hw.type", "temperature")))


def after(heat: Heat, *readings: tuple[float, list[Sample]], config: HeatConfig = CONFIG) -> Heat:
    for moment, samples in readings:
        heat = step(heat, config, samples, moment)
    return heat


def test_it_is_hot_once_a_sensor_was_at_the_limit_for_long_enough() -> None:
    assert after(COOL, (0, [at(90)]), (29, [at(95)])).why == ""
    assert after(COOL, (0, [at(90)]), (30, [at(91)])) == HOT


def test_a_short_peak_is_nothing() -> None:
    assert after(COOL, (0, [at(99)]), (20, [at(89)]), (30, [at(99)]), (59, [at(99)])).why == ""


def test_between_the_two_lines_it_stays_as_it_is() -> None:
    assert after(HOT, (0, [at(85)]), (1000, [at(80)])) == HOT
    assert after(COOL, (0, [at(85)]), (1000, [at(89.9)])) == COOL


def test_it_is_cool_once_all_sensors_were_below_for_long_enough() -> None:
    assert after(HOT, (0, [at(79)]), (29, [at(70)])).why == HOT.why
    assert after(HOT, (0, [at(79)]), (30, [at(79), at(81, "disk/1")]), (60, [at(79)])).why == HOT.why
    assert after(HOT, (0, [at(79)]), (30, [at(79)])) == COOL


def test_the_reason_is_the_same_as_long_as_the_heat_lasts() -> None:
    assert after(HOT, (0, [at(120)]), (60, [at(95)])) == HOT


def test_a_sensor_that_is_gone_keeps_nobody_away() -> None:
    assert after(HOT, (0, []), (30, [])) == COOL


def test_only_the_sensors_that_were_named_count() -> None:
    config = HeatConfig(90.0, 80.0, 0.0, ("cpu/1",))
    assert after(COOL, (0, [at(99, "disk/1")]), config=config) == COOL
    assert after(COOL, (0, [at(99, "disk/1"), at(91)]), config=config) == HOT


def test_other_samples_are_none_of_it() -> None:
    assert after(COOL, (0, [at(99, name="hw.fan.speed")]), (60, [at(99, name="hw.fan.speed")])) == COOL


def test_a_limit_of_zero_means_never() -> None:
    assert after(HOT, (0, [at(200)]), config=HeatConfig(limit_celsius=0.0)) == COOL


@given(st.lists(st.floats(0, 130), min_size=1, max_size=60))
def test_two_changes_are_at_least_the_hold_apart(temperatures: list[float]) -> None:
    heat, changed = COOL, float("-inf")
    for number, celsius in enumerate(temperatures):
        moment = number * 10.0
        now = step(heat, CONFIG, [at(celsius)], moment)
        if now.why != heat.why:
            assert moment - changed >= CONFIG.hold_seconds
            changed = moment
        heat = now
