"""Why the machine began this boot, as far as its watchdog knows."""

from collections.abc import Iterator
from pathlib import Path

# Bits of bootstatus: linux/watchdog.h (WDIOF_*).
_CAUSES = ((0x20, "watchdog"), (0x01, "overheat"), (0x02, "fan"), (0x10, "power low"), (0x40, "power high"))


def causes(root: Path = Path("/sys")) -> tuple[str, ...]:
    """What a watchdog has kept of the boot before: `watchdog` if it was the one to reset the machine.

    Empty after any other boot, and where there is no watchdog.
    """
    found = {cause for status in _statuses(root) for bit, cause in _CAUSES if status & bit}
    return tuple(sorted(found))


def _statuses(root: Path) -> Iterator[int]:
    for file in root.glob("class/watchdog/watchdog*/bootstatus"):
        try:
            yield int(file.read_text())
        except (OSError, ValueError):  # a driver that doesn't say
            continue
