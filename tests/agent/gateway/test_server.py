"""The HTTPS door on loopback, with no broker behind it: what it answers by itself, and what it survives."""

import asyncio
import base64
import datetime
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.clock import system_clock
from agent.gateway.publish import Broker
from agent.gateway.server import HttpService

AUTH = "Basic " + base64.b64encode(b"fridge-1:wrong").decode()


def certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (directory / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The door, in a loop of its own."""
    certificate(tmp_path)
    service = HttpService(("127.0.0.1", 0), Broker("127.0.0.1", 1), tmp_path, system_clock())
    up, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        loop.run_until_complete(service.run(stop, up.set))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(10)
    yield service.port
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    assert not thread.is_alive()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_one_connection_serves_many_requests_and_says_what_is_wrong(port: int) -> None:
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting())
    for method, path, headers, status in (
        ("GET", "/devices/fridge-1/x", {}, 405),
        ("POST", "/nowhere", {}, 404),
        ("POST", "/devices/fridge-1/x", {}, 401),
        ("POST", "/devices/fridge-2/x", {"Authorization": AUTH}, 403),
        ("POST", "/devices/fridge-1/x", {"Authorization": AUTH}, 503),
    ):
        client.request(method, path, b"1", headers)
        answer = client.getresponse()
        answer.read()
        assert answer.status == status
    client.close()


def test_a_body_that_is_too_long_ends_the_connection(port: int) -> None:
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting())
    client.request("POST", "/devices/fridge-1/x", bytes(128 * 1024 + 1), {"Authorization": AUTH})
    answer = client.getresponse()
    assert (answer.status, answer.getheader("Connection")) == (413, "close")
    client.close()


@pytest.mark.parametrize("sent", [b"\0\1\2\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x" * 20_000, b"POST / HTTP/9\r\n\r\n"])
def test_what_is_no_http_is_refused(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as plain, trusting().wrap_socket(plain) as client:
        client.sendall(sent)
        assert client.recv(4096).startswith(b"HTTP/1.1 4")


def test_who_never_ends_the_handshake_keeps_out_nobody_else(port: int) -> None:
    """What counts is what was accepted: a handshake that never ends takes an open file too."""
    held = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(300)]
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)) as plain,
            trusting().wrap_socket(plain) as other,
        ):
            other.sendall(b"GET /devices/a/b HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.recv(4096).startswith(b"HTTP/1.1 405")
        kept = [each for each in held if not is_closed(each)]
        assert len(kept) == 32
        with trusting().wrap_socket(kept[0]) as first:  # it was in time
            first.sendall(b"GET /devices/a/b HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(4096).startswith(b"HTTP/1.1 405")
    finally:
        for each in held:
            each.close()


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        connection.settimeout(10)
        return False
    except ConnectionError:
        return True


async def test_it_says_that_it_listens_once_it_does(tmp_path: Path) -> None:
    certificate(tmp_path)
    service = HttpService(("127.0.0.1", 0), Broker("127.0.0.1", 1), tmp_path, system_clock())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.run(stop, lambda: None))
        assert not service.listening.is_set()
        await service.listening.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.close()
        await writer.wait_closed()
        stop.set()
