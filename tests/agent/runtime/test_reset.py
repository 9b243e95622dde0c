"""Why this boot began, from the watchdog's own word."""

from pathlib import Path

import pytest

from agent.runtime.reset import causes


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((), ()),
        (("0\n",), ()),
        (("32\n",), ("watchdog",)),
        (("33\n", "0\n"), ("overheat", "watchdog")),
        (("no number\n", "32\n"), ("watchdog",)),
    ],
)
def test_the_causes_of_all_watchdogs_are_named(tmp_path: Path, statuses: tuple[str, ...], expected: tuple[str]) -> None:
    for number, status in enumerate(statuses):
        folder = tmp_path / f"class/watchdog/watchdog{number}"
        folder.mkdir(parents=True)
        (folder / "bootstatus").write_text(status)
    assert causes(tmp_path) == expected


def test_this_machine_can_be_asked() -> None:
    assert isinstance(causes(), tuple)
