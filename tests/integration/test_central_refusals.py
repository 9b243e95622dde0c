"""Whoever should not come in is refused, and is in `edgectl audit`: also when TLS refuses before our code runs."""

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from central.authority import Authority, Pair, key_pem, make_issuing, make_root, pem
from central.home import Home
from central.names import NodeName
from storeedge.v1.control_pb2_grpc import ControlStub
from storeedge.v1.operator_pb2 import ListNodesRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.types_pb2 import LANE_CONTROL
from tests.integration.central_parts import DOMAIN, Box, Central, central, ended, open_lane, reason

pytestmark = pytest.mark.integration

NODE = NodeName("s1", "n1")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with central(tmp_path_factory.mktemp("central")) as found:
        yield found


def authority_of(town: Central) -> Authority:
    home = Home(town.directory)
    return Authority.load(home.root.read_bytes(), home.issuing.read_bytes(), home.issuing_key.read_bytes())


def another_authority() -> Authority:
    now = datetime.now(UTC)
    root: Pair = make_root(DOMAIN, now)
    return Authority(root.certificate, make_issuing(DOMAIN, root, now))


def node_box(town: Central, authority: Authority, issued: datetime) -> Box:
    """A box with a certificate for s1/n1 that this authority made then."""
    box = Box(town)
    box.take(list(authority.issue_node(NODE, box.key.public_key(), issued).chain_der))
    return box


async def refused_by_tls(town: Central, credentials: grpc.ChannelCredentials) -> None:
    options = [("grpc.ssl_target_name_override", f"central.{DOMAIN}"), ("grpc.enable_retries", 0)]
    async with grpc.aio.secure_channel(town.control, credentials, options) as channel:
        call = ControlStub(channel).Session()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def handshake(town: Central, outcome: str) -> dict[str, Any]:
    """The audit entry of a failed handshake; it is written a moment after the connection has ended."""
    for _ in range(50):
        found = [e for e in town.audit("tls.handshake") if e["outcome"] == outcome]
        if found:
            return found[-1]
        time.sleep(0.1)
    raise AssertionError(f"no {outcome} in the audit trail; central said:\n{town.log.read_text()}")


async def test_a_certificate_of_a_wrong_authority_is_refused_and_audited(town: Central) -> None:
    box = node_box(town, another_authority(), datetime.now(UTC))
    await refused_by_tls(town, grpc.ssl_channel_credentials(box.root_pem, box.key_pem(), box.chain_pem))
    entry = handshake(town, "CERTIFICATE_UNTRUSTED")
    assert entry["actor"].startswith("ipv4:127.0.0.1:") and entry["target"] == "control"


async def test_an_expired_certificate_is_refused_and_audited(town: Central) -> None:
    box = node_box(town, authority_of(town), datetime.now(UTC) - timedelta(days=60))
    await refused_by_tls(town, grpc.ssl_channel_credentials(box.root_pem, box.key_pem(), box.chain_pem))
    assert "expired" in handshake(town, "CERTIFICATE_EXPIRED")["detail"]


async def test_a_caller_without_certificate_is_refused_and_audited(town: Central) -> None:
    await refused_by_tls(town, grpc.ssl_channel_credentials(Box(town).root_pem))
    assert handshake(town, "CERTIFICATE_MISSING")["target"] == "control"


def test_what_is_no_tls_is_refused_and_audited(town: Central) -> None:
    host, _, port = town.control.partition(":")
    with socket.create_connection((host, int(port))) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100) == b""
    assert handshake(town, "NOT_TLS")["target"] == "control"


def test_tls_1_2_is_refused_and_audited(town: Central, tmp_path: Path) -> None:
    box = node_box(town, authority_of(town), datetime.now(UTC))
    (tmp_path / "pem").write_bytes(box.key_pem() + box.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=box.root_pem.decode())
    context.load_cert_chain(tmp_path / "pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    host, _, port = town.control.partition(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(renew_over_http2())
        tls.settimeout(5)
        answer = b""
        while b"TLS 1.3" not in answer and (part := tls.recv(4096)):
            answer += part
        assert b"TLS 1.3" in answer
    assert [e["outcome"] for e in town.audit("renew")] == ["TLS_VERSION"]


def renew_over_http2() -> bytes:
    """The bytes of Control.Renew with an empty request, header block without compression (RFC 9113, RFC 7541)."""

    def literal(name: str, value: str) -> bytes:
        return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    headers = b"".join(
        literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/storeedge.v1.Control/Renew"),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
    )

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    settings, headers_frame = frame(4, 0, 0, b""), frame(1, 4, 1, headers)
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers_frame + frame(0, 1, 1, b"\0\0\0\0\0")


async def test_a_node_of_another_central_is_not_enrolled_here(town: Central) -> None:
    box = Box(town)
    issued = authority_of(town).issue_node(NodeName("s9", "n9"), box.key.public_key(), datetime.now(UTC))
    box.take(list(issued.chain_der))
    async with box.control() as stub:
        assert await ended(stub.Session()) == (grpc.StatusCode.PERMISSION_DENIED, "NODE_NOT_ENROLLED")
    assert town.audit("session")[-1]["actor"] == f"spiffe://{DOMAIN}/store/s9/node/n9"


async def test_a_certificate_that_was_never_handed_out_does_not_count(town: Central) -> None:
    await Box(town, "issued").enrol(town.token(node="issued"))
    box = Box(town, "issued")
    issued = authority_of(town).issue_node(NodeName("s1", "issued"), box.key.public_key(), datetime.now(UTC))
    box.take(list(issued.chain_der))
    async with box.control() as stub:
        assert (await ended(stub.Session()))[1] == "CERTIFICATE_REVOKED"


async def test_an_identity_of_another_trust_domain_is_refused(town: Central) -> None:
    here = authority_of(town)
    there = Authority(here.root, here.issuing)
    there.domain = "elsewhere.example"
    box = node_box(town, there, datetime.now(UTC))
    async with box.control() as stub:
        assert await ended(stub.Session()) == (grpc.StatusCode.UNAUTHENTICATED, "IDENTITY_INVALID")


async def test_a_node_may_not_ask_what_operators_ask(town: Central) -> None:
    box = Box(town, "curious")
    await box.enrol(town.token(node="curious"))
    credentials = grpc.ssl_channel_credentials(box.root_pem, box.key_pem(), box.chain_pem)
    async with grpc.aio.secure_channel(town.control, credentials, box.options()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await OperatorStub(channel).ListNodes(ListNodesRequest(), timeout=10)
        assert reason(caught.value) == "PERMISSION_DENIED"
    assert [e["outcome"] for e in town.audit("ListNodes") if e["actor"] == box.id] == ["PERMISSION_DENIED"]


async def test_an_operator_may_not_open_a_session(town: Central) -> None:
    home = Home(town.directory)
    credentials = grpc.ssl_channel_credentials(
        home.root.read_bytes(), home.operator_key.read_bytes(), home.operator_chain.read_bytes()
    )
    async with grpc.aio.secure_channel(town.control, credentials, Box(town).options()) as channel:
        call = ControlStub(channel).Session()
        # Refused before a word is said: one that is under way then would fail in gRPC, and hide why.
        assert await ended(call) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert town.audit("session")[-1]["actor"] == f"spiffe://{DOMAIN}/operator/admin"


async def test_a_box_that_does_not_believe_central_is_audited_too(town: Central) -> None:
    box = Box(town, "pinned")
    box.root_pem = pem(another_authority().root)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await box.enrol(town.token(node="pinned"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert handshake(town, "HANDSHAKE_ABORTED")["target"] == "enrolment"


async def test_a_server_certificate_does_not_open_a_session(town: Central) -> None:
    pair = authority_of(town).issue_server(datetime.now(UTC))
    chain = pem(pair.certificate, authority_of(town).issuing.certificate)
    await refused_by_tls(town, grpc.ssl_channel_credentials(Box(town).root_pem, key_pem(pair.key), chain))


async def test_honest_callers_are_served_all_the_while(town: Central) -> None:
    box = Box(town, "honest")
    await box.enrol(town.token(node="honest"))
    async with box.control() as stub:
        call, _ = await open_lane(stub, LANE_CONTROL)
        call.cancel()
    log = town.log.read_text()
    assert "Traceback" not in log and "handshaker.cc" not in log
