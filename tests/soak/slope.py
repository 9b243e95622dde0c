"""Whether something grows: a line through the samples after a warm-up. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

WARM_UP = 0.25  # of the time: caches fill, pools reach their size


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one series after the warm-up, in the unit of its values; `per_hour` by least squares."""

    first: float
    last: float
    highest: float
    per_hour: float
    noise: float  # standard deviation of the samples from the line
    hours: float  # that the line was drawn through

    @property
    def risen(self) -> float:
        """By the line, from its beginning to its end."""
        return self.per_hour * self.hours


def growth(samples: Sequence[tuple[float, float]]) -> Growth:
    """Of (seconds, value), oldest first; at least three after the warm-up, else ValueError."""
    begin, end = samples[0][0], samples[-1][0]
    kept = [(at / 3600, value) for at, value in samples if at >= begin + WARM_UP * (end - begin)]
    if len(kept) < 3:
        raise ValueError(f"{len(kept)} samples after the warm-up: too few for a line")
    mean_at, mean = (sum(column) / len(kept) for column in zip(*kept, strict=True))
    spread = sum((at - mean_at) ** 2 for at, _ in kept)
    per_hour = sum((at - mean_at) * (value - mean) for at, value in kept) / spread
    noise = (sum((value - mean - per_hour * (at - mean_at)) ** 2 for at, value in kept) / len(kept)) ** 0.5
    values = [value for _, value in kept]
    return Growth(values[0], values[-1], max(values), per_hour, noise, kept[-1][0] - kept[0][0])


def grows(found: Growth, bound_per_hour: float) -> bool:
    """More than allowed, and more than what its samples scatter by anyway."""
    return found.per_hour > bound_per_hour and found.risen > 2 * found.noise
