"""What a restart knows."""

import pytest

from agent.errors import StorageError
from agent.model import DeviceView
from agent.mqtt.registry.registry import Changes
from agent.mqtt.registry.registry_file import RegistryFile

A = DeviceView("a", True, 1, 2, 3, 4, "devices/a/x")
B = DeviceView("b", False, 5, 6, 7, 8, "devices/b/é")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "devices.sqlite"


@pytest.fixture
def open_file(path):
    opened = []

    def make():
        opened.append(RegistryFile(path))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_what_was_saved_is_loaded(open_file):
    assert open_file().load() == ()
    open_file().save(Changes((A, B), ()))
    assert set(open_file().load()) == {A, B}


def test_only_changes_are_written_and_the_forgotten_are_removed(open_file):
    file = open_file()
    file.save(Changes((A, B), ()))
    newer = DeviceView("b", True, 5, 9, 8, 9, "devices/b/y")
    file.save(Changes((newer,), ("a",)))
    assert file.load() == (newer,)


def test_a_file_that_makes_no_sense_is_set_aside_and_begun_anew(open_file, path, caplog):
    path.write_bytes(b"this is no database" * 100)
    file = open_file()
    assert file.load() == ()
    assert path.with_suffix(".corrupt").exists()
    assert "begins anew" in caplog.text
    file.save(Changes((A,), ()))
    assert open_file().load() == (A,)


def test_a_disk_that_fails_is_a_storage_error(tmp_path):
    file = RegistryFile(tmp_path / "missing" / "devices.sqlite")
    with pytest.raises(StorageError):
        file.save(Changes((A,), ()))
    with pytest.raises(StorageError):
        file.load()
