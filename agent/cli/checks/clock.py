"""Whether the wall clock can be believed: certificates, bills and trading hours are read by it."""

from agent.cli.checks.finding import Box, Finding

NAME = "clock"

_EARLIEST_UNIX_SECONDS = 1_767_225_600  # 2026-01-01: this program is younger
# What a time service leaves while it works: systemd-timesyncd once it has set the clock, chrony, ntpsec.
_MARKS = ("run/systemd/timesync/synchronized", "run/chrony/chronyd.pid", "run/ntpd.pid")


def check(box: Box) -> Finding:
    seconds = box.clock.wall_nano() / 1e9
    if seconds < _EARLIEST_UNIX_SECONDS:
        return Finding("fail", "the clock is years behind", "timedatectl set-ntp true; a battery for the board's clock")
    if not any((box.root / mark).exists() for mark in _MARKS):
        return Finding(
            "warn", "nothing keeps the clock right", "timedatectl set-ntp true (systemd-timesyncd), or chrony"
        )
    return Finding("ok", "kept by a time service")
