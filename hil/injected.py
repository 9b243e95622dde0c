"""What the suite did to a board, and when: each test's list is in the report."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)


def note(what: str) -> None:
    """Of a fault that is injected now; power cuts and the monitor's commands note themselves."""
    _log.info("%s", what)


class _Kept(logging.Handler):
    def __init__(self, started: float) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._started = started

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.created - self._started:.1f} s: {record.getMessage()}")


@contextmanager
def collected() -> Iterator[list[str]]:
    """All that is noted inside, each with the seconds since the beginning."""
    handler = _Kept(time.time())
    _log.addHandler(handler)
    try:
        yield handler.lines
    finally:
        _log.removeHandler(handler)
