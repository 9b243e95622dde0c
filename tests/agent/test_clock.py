"""agent/clock.py."""

from pathlib import Path

from agent.clock import Clock, system_clock
from agent.model import Stamp


def test_a_stamp_has_both_clocks_and_the_boot() -> None:
    clock = Clock("b", wall_nano=lambda: 5, boottime_nano=lambda: 2_500_000_000)
    assert clock.stamp() == Stamp(5, 2_500_000_000, "b")
    assert clock.seconds() == 2.5


def test_the_system_clock_knows_its_boot_and_goes_forward(tmp_path: Path) -> None:
    kernel = tmp_path / "sys/kernel/random"
    kernel.mkdir(parents=True)
    (kernel / "boot_id").write_text("7a\n")
    clock = system_clock(tmp_path)
    assert clock.boot_id == "7a"
    assert clock.boottime_nano() <= clock.boottime_nano()
    assert clock.wall_nano() > 1_700_000_000_000_000_000  # after 2023: nanoseconds, not seconds
