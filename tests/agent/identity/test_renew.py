"""agent/identity/renew.py."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AwayError, ConfigError, RefusedError
from agent.identity import store
from agent.identity.renew import due, renew
from agent.identity.signing import sign
from tests.fakes.authority import Fleet

DAY = 86_400 * 10**9


@pytest.mark.parametrize(
    ("day", "draw", "wanted"),
    [(11.9, 0.0, False), (12, 0.0, True), (14.9, 0.5, False), (15, 0.5, True), (17.9, 0.99, False), (18, 0.99, True)],
)
def test_a_certificate_of_thirty_days_is_renewed_between_the_twelfth_and_the_eighteenth(
    day: float, draw: float, wanted: bool
) -> None:
    assert due(0, 30 * DAY, int(day * DAY), draw) is wanted


@given(st.integers(0, 2**62), st.integers(1, 2**60), st.floats(0, 1, exclude_max=True))
def test_it_is_never_due_when_new_and_always_when_it_ends(begin: int, life: int, draw: float) -> None:
    assert not due(begin, begin + life, begin, draw)
    assert due(begin, begin + life, begin + life, draw)


async def test_a_renewed_identity_has_a_new_key_and_the_old_one_is_kept(tmp_path: Path) -> None:
    fleet = Fleet()
    old = await fleet.identity(tmp_path, "central:8443")

    async def call(csr: bytes) -> tuple[list[bytes], list[bytes]]:
        return fleet.certify(csr), [*fleet.bundle, *Fleet().bundle]

    new = await renew(tmp_path, old, call)
    assert store.load(tmp_path) == new
    assert new.key_pem != old.key_pem
    assert (new.spiffe_id, new.control_address) == (old.spiffe_id, old.control_address)
    assert new.bundle_pem.count(b"BEGIN") == 2
    assert store.revert(tmp_path) == old


async def test_the_next_key_is_locked_with_what_the_unit_was_given(tmp_path: Path) -> None:
    fleet = Fleet()
    old = replace(await fleet.identity(tmp_path), secret=b"of the TPM")  # plain until now: the TPM came later

    async def call(csr: bytes) -> tuple[list[bytes], list[bytes]]:
        return fleet.certify(csr), fleet.bundle

    new = await renew(tmp_path, old, call)
    assert store.is_locked(store.look(tmp_path)) and not new.key_pem.startswith(b"-----BEGIN ENCRYPTED")
    assert store.load(tmp_path, b"of the TPM") == new
    with pytest.raises(ConfigError, match="enrol again with a new token"):
        store.load(tmp_path, b"of another TPM")
    assert (await sign(new.directory, b"a bill", new.secret))[1]


async def test_a_certificate_for_another_node_is_not_taken(tmp_path: Path) -> None:
    fleet = Fleet()
    old = await fleet.identity(tmp_path)

    async def call(csr: bytes) -> tuple[list[bytes], list[bytes]]:
        return fleet.certify(csr, node="n2"), fleet.bundle

    with pytest.raises(RefusedError, match=r"is for .*node/n2.*not for .*node/n1"):
        await renew(tmp_path, old, call)
    assert store.load(tmp_path) == old


async def test_a_certificate_of_another_authority_is_not_taken(tmp_path: Path) -> None:
    fleet = Fleet()
    old = await fleet.identity(tmp_path)

    async def call(csr: bytes) -> tuple[list[bytes], list[bytes]]:
        return Fleet().certify(csr), fleet.bundle

    with pytest.raises(RefusedError, match="not usable"):
        await renew(tmp_path, old, call)
    assert store.load(tmp_path) == old


async def test_when_central_is_away_nothing_changes(tmp_path: Path) -> None:
    old = await Fleet().identity(tmp_path)

    async def call(csr: bytes) -> tuple[list[bytes], list[bytes]]:
        raise AwayError("no route")

    with pytest.raises(AwayError):
        await renew(tmp_path, old, call)
    assert store.load(tmp_path) == old
    assert sorted(path.name for path in (tmp_path / "identity").iterdir()) == ["000001", "current"]
