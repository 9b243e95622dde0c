"""What a restart knows."""

import sqlite3

import pytest

from agent.errors import StorageError
from agent.mqtt.registry.channels import Announced
from agent.mqtt.registry.device import Kept
from agent.mqtt.registry.registry import Changes
from agent.mqtt.registry.registry_file import RegistryFile

A = Kept("a", True, 1, 2, 3, 4, "devices/a/x", 1.5, 2.5, True)
B = Kept("b", False, 5, 6, 7, 8, "devices/b/é")


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
    assert open_file().load() == ((), ())
    open_file().save(Changes((A, B), (), (Announced("t", b"{}"),)))
    assert open_file().load() == ((A, B), (Announced("t", b"{}"),))


def test_only_changes_are_written_and_the_forgotten_are_removed(open_file):
    file = open_file()
    file.save(Changes((A, B), (), (Announced("t", b"{}"), Announced("u", b"{}"))))
    newer = Kept("b", True, 5, 9, 8, 9, "devices/b/y")
    file.save(Changes((newer,), ("a",), (Announced("t", b""), Announced("u", b"{1}"))))
    assert file.load() == ((newer,), (Announced("u", b"{1}"),))


def test_a_file_of_before_rates_and_silence_is_taken_over(open_file, path):
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE device (id TEXT PRIMARY KEY, online INTEGER NOT NULL, first_seen_unix_nano INTEGER NOT NULL,"
            " last_seen_unix_nano INTEGER NOT NULL, messages INTEGER NOT NULL, payload_bytes INTEGER NOT NULL,"
            " last_topic TEXT NOT NULL) WITHOUT ROWID"
        )
        old.execute("INSERT INTO device VALUES ('a', 1, 1, 2, 3, 4, 'devices/a/x')")
    old.close()
    file = open_file()
    assert file.load() == ((Kept("a", True, 1, 2, 3, 4, "devices/a/x"),), ())
    file.save(Changes((A,)))
    assert open_file().load() == ((A,), ())


def test_a_file_that_makes_no_sense_is_set_aside_and_begun_anew(open_file, path, caplog):
    path.write_bytes(b"this is no database" * 100)
    file = open_file()
    assert file.load() == ((), ())
    assert path.with_suffix(".corrupt").exists()
    assert "begins anew" in caplog.text
    file.save(Changes((A,)))
    assert open_file().load() == ((A,), ())


def test_a_disk_that_fails_is_a_storage_error(tmp_path):
    file = RegistryFile(tmp_path / "missing" / "devices.sqlite")
    with pytest.raises(StorageError):
        file.save(Changes((A,)))
    with pytest.raises(StorageError):
        file.load()


def test_a_disk_that_was_full_when_the_file_was_made_is_no_end_of_it(open_file, monkeypatch):
    file = open_file()
    with monkeypatch.context() as full:
        full.setattr("agent.mqtt.registry.registry_file._SCHEMA", "BEGIN IMMEDIATE; CREATE TABLE x (y); SELECT full()")
        with pytest.raises(StorageError):
            file.save(Changes((A,)))
    file.save(Changes((A,)))
    assert open_file().load() == ((A,), ())
