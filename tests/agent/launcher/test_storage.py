from pathlib import Path

import pytest

from agent.launcher import layout, storage
from agent.launcher.layout import Places
from agent.launcher.protocol import LauncherError
from agent.launcher.request import run_name
from agent.launcher.storage import LimitDevice, MakeDisk, MountFile

PLACES = Places(Path("/state"), Path("/run/edge"))


def test_the_stored_range_is_no_runs() -> None:
    assert layout.uid_base(layout.SLOTS - 1) + layout.UID_COUNT <= storage.STORED_BASE
    assert storage.STORED_BASE + layout.UID_COUNT <= 2130706432  # the next range that systemd names


def test_no_run_can_be_called_as_the_unpacker_is() -> None:
    with pytest.raises(LauncherError):
        run_name({"run": storage.UNPACKER})


def test_steps_say_what_they_will_do() -> None:
    assert MakeDisk(Path("/d.img"), 5).describe() == "make or check disk /d.img (5 bytes, reserved)"
    mapped = MountFile(Path("/d.img"), Path("/p"), read_only=False, first_id=7).describe()
    assert mapped == "mount -o loop,nosuid,nodev,rw (ids 0..65535 as 7..) /d.img /p"
    assert "ro (unmapped)" in MountFile(Path("/d.img"), Path("/p"), read_only=True, first_id=None).describe()
    assert LimitDevice(Path("/p"), (Path("/g/io.max"),), 9).describe() == "limit io of /p to 9 bytes/s: /g/io.max"


def test_everything_is_below_the_launchers_own_directories() -> None:
    assert storage.images(PLACES) == Path("/state/images")
    assert storage.disks(PLACES) == Path("/state/disks")
    assert storage.root(PLACES, "r") == Path("/run/edge/mounts/r/root")
    assert storage.work(PLACES, "r") == Path("/run/edge/mounts/r/work")


def test_some_of_any_disk_is_left_to_the_store() -> None:
    assert storage.room(100, 1000) == 50
    assert storage.room(40, 1000) == 0
    assert storage.room(5 << 30, 1 << 50) == 4 << 30
