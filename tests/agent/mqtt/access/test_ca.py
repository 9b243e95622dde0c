"""agent/mqtt/access/ca.py, with the real child process."""

import ssl
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.errors import RefusedError, StorageError
from agent.mqtt.access.ca import DeviceCa, Names, Wish, names_of_this_box

NAMES = Names(("box", "localhost"), ("127.0.0.1",))
NOW = 1_800_000_000 * 10**9


@pytest.fixture
def ca(tmp_path: Path) -> DeviceCa:
    (tmp_path / "broker").mkdir()
    return DeviceCa(tmp_path, tmp_path / "broker", Clock("boot", lambda: NOW, lambda: 0))


async def test_what_was_written_is_read_again_by_the_broker_and_only_then(ca: DeviceCa, tmp_path: Path) -> None:
    reload = tmp_path / "broker" / "reload"
    first = await ca.ensure((), NAMES)
    assert first.changed and reload.exists() and first.server_not_after_unix_nano > NOW
    assert ssl.DER_cert_to_PEM_cert(first.ca_der).strip() == (tmp_path / "broker" / "ca.crt").read_text().strip()
    reload.unlink()
    assert not (await ca.ensure((), NAMES)).changed and not reload.exists()
    await ca.revoke(["ab"])
    assert reload.exists()


async def test_certificates_come_in_the_order_of_the_wishes_and_one_bad_request_stops_all(ca: DeviceCa) -> None:
    ca_der, (one, other) = await ca.issue([Wish("a", b"", 10), Wish("b", b"", 20)])
    assert ca_der and one.key_der and (other.not_after_unix_nano - one.not_after_unix_nano) // 10**9 == 10 * 86_400
    assert one.serial != other.serial and "key_der" not in repr(one)
    for attempt in (ca.check, ca.issue):
        with pytest.raises(RefusedError, match="the device CA: b: not a certificate request"):
            await attempt([Wish("a", b"", 10), Wish("b", b"junk", 10)])


async def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await DeviceCa(tmp_path, tmp_path / "none", Clock("boot", lambda: NOW, lambda: 0)).ensure((), NAMES)


def test_this_box_is_called_by_its_name_and_its_addresses_but_not_by_those_of_runs() -> None:
    names = names_of_this_box()
    assert "localhost" in names.dns and {"127.0.0.1", "::1"} <= set(names.addresses)
    assert not any("%" in address for address in names.addresses)
