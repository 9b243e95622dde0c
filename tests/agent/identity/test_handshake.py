"""agent/identity/handshake.py, against servers of the standard library on loopback."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import AwayError, RefusedError
from agent.identity.handshake import alert_error, client_context, handshake
from central.authority import key_pem, pem
from tests.fakes.authority import CENTRAL_ID, Fleet, now


def server_context(fleet: Fleet, directory: Path, age: timedelta = timedelta()) -> ssl.SSLContext:
    pair = fleet.authority.issue_server(now() - age)
    (directory / "server.key").write_bytes(key_pem(pair.key))
    (directory / "server.crt").write_bytes(pem(pair.certificate, fleet.authority.issuing.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    return context


def trusting(fleet: Fleet) -> ssl.SSLContext:
    context = client_context()
    context.load_verify_locations(cadata=pem(fleet.authority.root).decode())
    return context


@asynccontextmanager
async def listening(context: ssl.SSLContext | None, says: bytes = b"") -> AsyncGenerator[str]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    async with server:
        yield where(server.sockets[0])


def where(listener: "socket.socket | asyncio.trsock.TransportSocket") -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


async def test_the_names_of_a_verified_server_are_known(tmp_path: Path) -> None:
    fleet = Fleet()
    async with (
        listening(server_context(fleet, tmp_path), b"x" * 9) as address,
        handshake(address, trusting(fleet), "central.shop.example", 10) as peer,
    ):
        assert peer.uris() == (CENTRAL_ID,)
        assert peer.tls.version() == "TLSv1.3"
        assert await peer.answers()


async def test_a_server_that_says_nothing_more_and_leaves_does_not_answer(tmp_path: Path) -> None:
    fleet = Fleet()
    async with (
        listening(server_context(fleet, tmp_path)) as address,
        handshake(address, trusting(fleet), "central.shop.example", 10) as peer,
    ):
        assert not await peer.answers()


async def test_an_expired_server_is_refused_in_words(tmp_path: Path) -> None:
    fleet = Fleet()
    async with listening(server_context(fleet, tmp_path, timedelta(days=40))) as address:
        with pytest.raises(RefusedError, match="certificate has expired; is this box's clock right"):
            async with handshake(address, trusting(fleet), "central.shop.example", 10):
                pass


async def test_tls_below_1_3_is_refused_in_words(tmp_path: Path) -> None:
    fleet = Fleet()
    old = server_context(fleet, tmp_path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    def accept(listener: socket.socket) -> None:  # blocking: asyncio's server closes before its alert is out
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError):
            old.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(accept, listener))
            with pytest.raises(RefusedError, match=r"does not speak TLS 1\.3"):
                async with handshake(where(listener), trusting(fleet), "central.shop.example", 10):
                    pass


async def test_a_port_that_is_not_tls_is_refused_in_words() -> None:
    async with listening(None, b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        with pytest.raises(RefusedError, match=r"does not speak TLS$"):
            async with handshake(address, client_context(), "central.shop.example", 10):
                pass


async def test_a_silent_port_is_away_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(AwayError, match=r"within 0\.1 s"):
        async with handshake(where(listener), client_context(), "central.shop.example", 0.1):
            pass


async def test_a_port_that_closes_at_once_is_away() -> None:
    async with listening(None) as address:
        with pytest.raises(AwayError, match="closed the connection during the TLS handshake"):
            async with handshake(address, client_context(), "central.shop.example", 10):
                pass


async def test_a_name_that_is_not_known_is_away() -> None:
    with pytest.raises(AwayError, match="can't be reached"):
        async with handshake("nowhere.invalid:1", client_context(), "central.shop.example", 10):
            pass


@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", RefusedError, "it has expired"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", RefusedError, "asks for a certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", RefusedError, "doesn't know the CA"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", RefusedError, "refuses our certificate"),
        ("TLSV1_ALERT_INTERNAL_ERROR", AwayError, "TLS failed: TLSV1_ALERT_INTERNAL_ERROR"),
    ],
)
def test_an_alert_becomes_words(reason: str, kind: type[Exception], words: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1)")
    error.reason = reason
    found = alert_error("central:8443", error)
    assert type(found) is kind
    assert words in str(found)
