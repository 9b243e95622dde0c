"""Whether the box is too hot for the work of tenants. Pure: readings and time in, a state out (docs/decisions/0086)."""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.config.schema import HeatConfig
from agent.telemetry.sample import Sample

METRIC = "hw.temperature"


@dataclass(frozen=True, slots=True)
class Heat:
    """`why` is empty while it is cool, else the reading that crossed the limit, for people: the same for as long.

    `crossing_since`: since when readings say the opposite of the state, in seconds of CLOCK_BOOTTIME.
    """

    why: str = ""
    crossing_since: float | None = None


COOL = Heat()


def step(heat: Heat, config: HeatConfig, samples: Iterable[Sample], at: float) -> Heat:
    """The state after the samples of one moment `at`.

    It is hot once a sensor has been at `limit_celsius` or above for `hold_seconds`, and cool once all of them have been
    below `cool_celsius` for as long. A sensor that says nothing isn't hot: one that was pulled out or broke must not
    keep tenants away for ever, and the processor protects itself.
    """
    if config.limit_celsius == 0:
        return COOL
    sensor, celsius = _hottest(config, samples)
    line = config.cool_celsius if heat.why else config.limit_celsius
    if (celsius >= line) == bool(heat.why):
        return Heat(heat.why)
    since = at if heat.crossing_since is None else heat.crossing_since
    if at - since < config.hold_seconds:
        return Heat(heat.why, since)
    if heat.why:
        return COOL
    return Heat(f"the box is too hot: {sensor} at {celsius:g} degrees Celsius, the limit is {config.limit_celsius:g}")


def _hottest(config: HeatConfig, samples: Iterable[Sample]) -> tuple[str, float]:
    """Of the sensors that are looked at; colder than anything when there is none."""
    readings = [
        (sensor, sample.value)
        for sample in samples
        if sample.name == METRIC
        and (sensor := dict(sample.attributes).get("hw.id", ""))
        and (not config.sensors or sensor in config.sensors)
    ]
    return max(readings, key=lambda reading: reading[1], default=("", float("-inf")))
