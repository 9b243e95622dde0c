"""agent/mqtt/access/secret.py."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import CorruptError, StorageError
from agent.mqtt.access.secret import load_or_make, password

_USER = st.tuples(
    st.sampled_from(["device", "job", "agent", "store"]),
    st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True),
    st.integers(0, 2**40),
)


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    secret = load_or_make(tmp_path)
    assert len(secret) == 32 and load_or_make(tmp_path) == secret
    assert (tmp_path / "mqtt-secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").mkdir()
    assert load_or_make(tmp_path / "other") != secret


def test_a_broken_secret_is_not_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "mqtt-secret").write_bytes(b"short")
    with pytest.raises(CorruptError, match="5 bytes"):
        load_or_make(tmp_path)
    with pytest.raises(StorageError):
        load_or_make(tmp_path / "missing")


@given(_USER, _USER)
def test_two_users_or_generations_never_share_a_password(
    one: tuple[str, str, int], other: tuple[str, str, int]
) -> None:
    first, second = password(b"s" * 32, *one), password(b"s" * 32, *other)
    assert (first == second) is (one == other)
    assert len(first) == 43 and "=" not in first
    assert first != password(b"t" * 32, *one)
