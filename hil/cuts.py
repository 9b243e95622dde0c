"""Power cuts: when they come, and what they may cost. Pure; times are seconds since 1970 on the machine that cuts.

What is promised (docs/OPERATIONS.md): a message that the broker acknowledged while the agent had its connection is on
disk some milliseconds later; one that it acknowledged while there was no agent (a boot), ten seconds later.
"""

import enum
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Message = tuple[str, int]  # device, number

# A cut within this of an acknowledgement may cost the message. Milliseconds are promised; a slow board gets more.
MARGIN_SECONDS = 3.0
AUTOSAVE_SECONDS = 10.0  # of systemd/mosquitto.conf


class Moment(enum.StrEnum):
    BOOT = "boot"  # somewhere between power on and the agent's return
    RUNNING = "running"  # some time after that
    UNPACKING = "unpacking"  # soon after an image began to be prepared


@dataclass(frozen=True, slots=True)
class Cut:
    moment: Moment
    part: float  # 0..1 of the time that its moment has
    central_away: bool  # before the cut, so that only the board has what comes


@dataclass(frozen=True, slots=True)
class Life:
    """One power-on that ended with a cut. `agent` is when the agent had the broker, None if it never did."""

    on: float
    cut: float
    agent: float | None


@dataclass(frozen=True, slots=True)
class Loss:
    """Of what was acknowledged in one life. `window`: seconds from the oldest lost one's acknowledgement to the cut."""

    acknowledged: int
    last_moment: int  # of these, acknowledged too late to be promised
    missing: tuple[Message, ...]  # promised
    missing_last_moment: int
    window: float
    twice: int


def schedule(seed: int, count: int) -> list[Cut]:
    """The same seed gives the same cuts."""
    draw = random.Random(seed)
    found: list[Cut] = []
    for _ in range(count):
        (moment,) = draw.choices(list(Moment), weights=(35, 40, 25))
        found.append(Cut(moment, draw.random(), moment is not Moment.BOOT and draw.random() < 0.5))
    return found


def limit(life: Life) -> float:
    """What was acknowledged before this is promised to survive the life's cut."""
    if life.agent is not None and life.agent < life.cut - MARGIN_SECONDS:
        return life.cut - MARGIN_SECONDS
    return life.cut - MARGIN_SECONDS - AUTOSAVE_SECONDS


def judge(lives: Sequence[Life], acknowledged: Mapping[Message, float], received: Counter[Message]) -> Iterator[Loss]:
    """One Loss for each life, in order. Messages acknowledged after the last cut are not in any."""
    for number, life in enumerate(lives):
        end = lives[number + 1].on if number + 1 < len(lives) else life.cut + MARGIN_SECONDS
        mine = {message: when for message, when in acknowledged.items() if life.on <= when < end}
        promised = {message for message, when in mine.items() if when < limit(life)}
        missing = {message for message in mine if not received[message]}
        yield Loss(
            acknowledged=len(mine),
            last_moment=len(mine) - len(promised),
            missing=tuple(sorted(missing & promised)),
            missing_last_moment=len(missing - promised),
            window=max((life.cut - mine[message] for message in missing), default=0.0),
            twice=sum(received[message] - 1 for message in mine if received[message] > 1),
        )
