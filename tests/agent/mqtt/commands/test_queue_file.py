"""What was written is read again, and what can't be read is set aside."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import StorageError
from agent.mqtt.commands.queue_file import QueueFile
from agent.orders import CommandState
from tests.fakes.command_parts import command


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(
    payload=st.binary(max_size=50),
    state=st.sampled_from(CommandState),
    flag=st.booleans(),
    number=st.integers(0, 2**60),
    seconds=st.floats(0, 1e9),
)
def test_a_command_comes_back_as_it_was(tmp_path, payload, state, flag, number, seconds):
    one = command(
        payload=payload,
        state=state,
        at_least_once=flag,
        kept=not flag,
        asked_unix_nano=number,
        expires_seconds=seconds,
        answer=payload,
        owes=3,
    )
    file = QueueFile(tmp_path / "c.db")
    file.load("a")
    file.save({one.id: one}, 7)
    file.close()
    loaded = file.load("b")
    file.close()
    assert (loaded.commands, loaded.series, loaded.last) == ((one,), "a", 7)


def test_what_is_forgotten_is_gone_and_its_number_does_not_come_again(tmp_path):
    file = QueueFile(tmp_path / "c.db")
    file.load("a")
    file.save({"c-1": command()}, 1)
    file.save({"c-1": None}, 1)
    file.close()
    loaded = file.load("b")
    file.close()
    assert (loaded.commands, loaded.last) == ((), 1)


def test_nobody_else_may_read_it(tmp_path):
    file = QueueFile(tmp_path / "c.db")
    file.load("a")
    file.close()
    assert (tmp_path / "c.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", ["bytes", "row"])
def test_a_file_that_cannot_be_read_is_set_aside_and_another_series_begins(tmp_path, spoil):
    path = tmp_path / "c.db"
    file = QueueFile(path)
    file.load("a")
    file.save({"c-1": command()}, 1)
    file.close()
    if spoil == "bytes":
        path.write_bytes(b"x" * 8192)
    else:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE command SET state = 'strange'")
        db.close()
    loaded = file.load("b")
    file.close()
    assert (loaded.commands, loaded.series, loaded.set_aside) == ((), "b", tmp_path / "c.db.corrupt-b")


def test_a_directory_that_is_not_there_and_a_file_that_is_not_open_are_storage_errors(tmp_path):
    with pytest.raises(StorageError):
        QueueFile(tmp_path / "no" / "c.db").load("a")
    with pytest.raises(StorageError):
        QueueFile(tmp_path / "c.db").save({}, 0)


def test_a_newer_agents_file_is_left_alone(tmp_path):
    path = tmp_path / "c.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    file = QueueFile(path)
    with pytest.raises(StorageError, match="newer"):
        file.load("a")
    file.close()
