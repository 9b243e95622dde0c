"""agent/identity/enrol.py, against a stand-in for central whose answers can be wrong."""

import base64
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from agent.clock import Clock
from agent.errors import AwayError, ConfigError, RefusedError
from agent.identity import enrol as subject
from agent.identity import store
from agent.identity.enrol import enrol
from storeedge.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from storeedge.v1.enrolment_pb2_grpc import EnrolmentServicer, add_EnrolmentServicer_to_server
from tests.fakes.authority import CENTRAL_ID, DOMAIN, NODE_ID, Fleet

CLOCK = Clock("boot", wall_nano=lambda: 10**18)
SECRET = "s" * 43


def token(fleet: Fleet, **changed: str) -> str:
    fields = {"i": "t1", "s": SECRET, "f": hashlib.sha256(fleet.bundle[0]).hexdigest(), "n": "s1/n1", "d": DOMAIN}
    return "set1." + base64.urlsafe_b64encode(json.dumps(fields | changed).encode()).rstrip(b"=").decode()


class Central(EnrolmentServicer):
    """Signs whatever it is asked; `change` spoils the answer, `before` may abort."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.seen: list[EnrolRequest] = []
        self.node = "n1"
        self.change: Callable[[EnrolResponse], None] = lambda _: None
        self.before: Callable[[Any], Awaitable[None]] | None = None

    async def Enrol(self, request: EnrolRequest, context: Any) -> EnrolResponse:  # noqa: N802 - the wire's name
        self.seen.append(request)
        if self.before is not None:
            await self.before(context)
        response = EnrolResponse(
            chain_der=self.fleet.certify(request.csr_der, node=self.node),
            bundle_der=self.fleet.bundle,
            spiffe_id=NODE_ID,
            control_address="central.shop.example:8443",
            central_spiffe_id=CENTRAL_ID,
            server_time_unix_nano=CLOCK.wall_nano(),
        )
        self.change(response)
        return response


@asynccontextmanager
async def serving(central: Central) -> AsyncGenerator[str]:
    server = grpc.aio.server()
    add_EnrolmentServicer_to_server(central, server)
    port = server.add_secure_port("127.0.0.1:0", central.fleet.server_credentials(client_certificate=False))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_a_token_becomes_an_identity_on_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    central = Central(Fleet())
    async with serving(central) as address:
        with caplog.at_level(logging.WARNING):
            identity = await enrol(address, token(central.fleet), tmp_path, "ACME " + "x" * 400, CLOCK)
    assert store.load(tmp_path) == identity
    assert (identity.spiffe_id, identity.control_address) == (NODE_ID, "central.shop.example:8443")
    (request,) = central.seen
    assert (request.token_id, request.token_secret) == ("t1", SECRET)
    assert request.hardware == ("ACME " + "x" * 400)[:256]
    assert identity.key_pem not in request.SerializeToString()
    assert caplog.records == []


async def test_another_central_never_sees_the_token(tmp_path: Path) -> None:
    impostor = Central(Fleet())
    async with serving(impostor) as address:
        with pytest.raises(RefusedError, match="CA does not match the token"):
            await enrol(address, token(Fleet()), tmp_path, "", CLOCK)
    assert impostor.seen == []
    assert not store.is_enrolled(tmp_path)


async def test_who_only_shows_centrals_root_never_sees_the_token(tmp_path: Path) -> None:
    """The root certificate is public: presenting it proves nothing."""
    honest, impostor = Fleet(), Central(Fleet())
    real = impostor.fleet.authority.root
    impostor.fleet.authority.root = honest.authority.root  # presented after a leaf it did not sign
    async with serving(impostor) as address:
        with pytest.raises(RefusedError, match="not from central's CA"):
            await enrol(address, token(honest), tmp_path, "", CLOCK)
    assert real != honest.authority.root
    assert impostor.seen == []


def aborting(reason: str, code: grpc.StatusCode, message: str) -> Callable[[Any], Awaitable[None]]:
    async def abort(context: Any) -> None:
        detail = AnyMessage()
        detail.Pack(ErrorInfo(reason=reason, domain="storeedge"))
        status = Status(code=code.value[0], message=message, details=[detail])
        await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))

    return abort


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TOKEN_UNKNOWN", "central refused: TOKEN_UNKNOWN: no; central knows no such token"),
        ("TOKEN_USED", "central refused: TOKEN_USED: no; the token was used already"),
        ("TOKEN_EXPIRED", "central refused: TOKEN_EXPIRED: no; the token has expired"),
        ("CSR_WRONG_NODE", "central refused: CSR_WRONG_NODE: no; the token is for another node"),
        ("NEW_REASON", "central refused: NEW_REASON: no$"),
    ],
)
async def test_centrals_refusal_is_told_in_words(tmp_path: Path, reason: str, words: str) -> None:
    central = Central(Fleet())
    central.before = aborting(reason, grpc.StatusCode.PERMISSION_DENIED, "no")
    async with serving(central) as address:
        with pytest.raises(RefusedError, match=words):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK)
    assert len(central.seen) == 1
    # What central has not said of the token may pass: the key is kept for the next attempt.
    assert len(list((tmp_path / "identity").iterdir())) == (reason == "NEW_REASON")


async def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_key(tmp_path: Path) -> None:
    """Also by another process, after a power cut: central gives a used token's answer to the same key only."""
    central = Central(Fleet())
    central.change = lambda response: response.ClearField("chain_der")  # stands for a box that dies before it is stored
    async with serving(central) as address:
        with pytest.raises(RefusedError):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK, secret=b"of the TPM")
        central.change = lambda _: None
        identity = await enrol(address, token(central.fleet), tmp_path, "", CLOCK, secret=b"of the TPM")
    first, second = (x509.load_der_x509_csr(each.csr_der).public_key() for each in central.seen)
    assert first == second
    assert [path.name for path in (tmp_path / "identity").iterdir() if path.name.startswith(".")] == []
    assert identity.secret == b"of the TPM"


async def test_a_kept_key_that_no_longer_opens_is_replaced(tmp_path: Path) -> None:
    central = Central(Fleet())
    central.change = lambda response: response.ClearField("chain_der")
    async with serving(central) as address:
        with pytest.raises(RefusedError):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK, secret=b"of another TPM")
        central.change = lambda _: None
        await enrol(address, token(central.fleet), tmp_path, "", CLOCK, secret=b"of the TPM")
    assert store.load(tmp_path, b"of the TPM").node == "n1"


async def test_a_refusal_without_details_is_told_by_its_code(tmp_path: Path) -> None:
    central = Central(Fleet())

    async def abort(context: Any) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "go\naway", (("grpc-status-details-bin", b"\xff"),))

    central.before = abort
    async with serving(central) as address:
        with pytest.raises(RefusedError, match="central refused: PERMISSION_DENIED: go away"):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK)


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "_PAUSE_SECONDS", 0)
    central = Central(Fleet())

    async def lose_the_first(context: Any) -> None:
        if len(central.seen) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    central.before = lose_the_first
    async with serving(central) as address:
        await enrol(address, token(central.fleet), tmp_path, "", CLOCK)
    assert len(central.seen) == 2
    assert central.seen[0].csr_der == central.seen[1].csr_der


async def test_a_central_that_stays_away_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_PAUSE_SECONDS", 0)
    central = Central(Fleet())

    async def away(context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    central.before = away
    async with serving(central) as address:
        with pytest.raises(AwayError, match="can't be reached: cut"):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK)
    assert len(central.seen) == 3
    with pytest.raises(AwayError):
        await enrol("127.0.0.1:1", token(central.fleet), tmp_path, "", CLOCK)


def other_domain(response: EnrolResponse) -> None:
    response.central_spiffe_id = "spiffe://else.example/central"


def no_address(response: EnrolResponse) -> None:
    response.control_address = "central"


def no_chain(response: EnrolResponse) -> None:
    del response.chain_der[:]


def strange_bundle(response: EnrolResponse) -> None:
    response.bundle_der[:] = Fleet("else.example").bundle


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_domain, "calls itself 'spiffe://else.example/central': another domain"),
        (no_address, "control address: 'central' is not HOST:PORT"),
        (no_chain, "not usable: the chain or the bundle is empty"),
        (strange_bundle, "not usable: the chain does not lead to a root"),
    ],
)
async def test_an_answer_that_is_no_use_is_not_installed(
    tmp_path: Path, change: Callable[[EnrolResponse], None], words: str
) -> None:
    central = Central(Fleet())
    central.change = change
    async with serving(central) as address:
        with pytest.raises(RefusedError, match=words):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK)
    assert not store.is_enrolled(tmp_path)


async def test_a_certificate_for_another_node_is_not_installed(tmp_path: Path) -> None:
    central = Central(Fleet())
    central.node = "n2"
    async with serving(central) as address:
        with pytest.raises(RefusedError, match=r"issued a certificate for .*node/n2.*not for .*node/n1"):
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK)
    assert not store.is_enrolled(tmp_path)


async def test_an_enrolled_box_is_enrolled_anew_only_when_told_to(tmp_path: Path) -> None:
    central = Central(Fleet())
    old = await central.fleet.identity(tmp_path)
    async with serving(central) as address:
        with pytest.raises(RefusedError, match="enrolled already; --force") as caught:
            await enrol(address, token(central.fleet), tmp_path, "", CLOCK)
        assert caught.value.reason == "CONFLICT"
        assert store.load(tmp_path) == old
        new = await enrol(address, token(central.fleet), tmp_path, "", CLOCK, replace=True)
    assert store.load(tmp_path) == new != old


async def test_a_wrong_clock_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    central = Central(Fleet())
    async with serving(central) as address:
        with caplog.at_level(logging.WARNING):
            behind = Clock("boot", wall_nano=lambda: CLOCK.wall_nano() - 3600 * 10**9)
            await enrol(address, token(central.fleet), tmp_path, "", behind)
    assert "clock is wrong" in caplog.text
    assert caplog.records[0].seconds == 3600  # type: ignore[attr-defined] # from `extra`


async def test_what_is_wrong_before_anything_is_sent_says_so(tmp_path: Path) -> None:
    good = token(Fleet())
    with pytest.raises(RefusedError, match="central: 'central' is not HOST:PORT"):
        await enrol("central", good, tmp_path, "", CLOCK)
    with pytest.raises(RefusedError, match="token is malformed"):
        await enrol("127.0.0.1:1", good[:-9], tmp_path, "", CLOCK)
    with pytest.raises(ConfigError, match="does not exist"):
        await enrol("127.0.0.1:1", good, tmp_path / "missing", "", CLOCK)
