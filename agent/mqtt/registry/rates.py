"""How much a device says in a minute: sums that fade, two floats for each device. Pure."""

import math

# Over how long the past counts: a message of five minutes ago counts a third of one of now.
FADE_SECONDS = 300.0
FADE_PER_NANO = -1e-9 / FADE_SECONDS
# A device that was seen for shorter is taken for one that was seen so long: its first message says no rate.
_LEAST_NANO = 60 * 1_000_000_000


def fade(elapsed_nano: int) -> float:
    """What is left of a sum after that time; all of it when the clock went back."""
    return math.exp(elapsed_nano * FADE_PER_NANO) if elapsed_nano > 0 else 1.0


def per_minute(faded: float, known_nano: int) -> float:
    """The rate that a faded sum tells of a device known for so long; exact for one that speaks evenly."""
    seen = 1.0 - math.exp(max(known_nano, _LEAST_NANO) * FADE_PER_NANO)
    return faded * 60.0 / (FADE_SECONDS * seen)
