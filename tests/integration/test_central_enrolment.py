"""A box becomes a node, or is told why not; both are in the audit trail."""

import hashlib
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from storeedge.v1.control_pb2 import RenewRequest
from storeedge.v1.types_pb2 import LANE_CONTROL
from tests.integration.central_parts import Box, Central, central, ended, open_lane, reason

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with central(tmp_path_factory.mktemp("central")) as found:
        yield found


async def refused(box: Box, token: dict[str, str], csr: bytes = b"") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await box.enrol(token, csr)
    return caught.value.code(), reason(caught.value)


async def test_a_token_becomes_a_certificate_that_opens_a_session(town: Central) -> None:
    token, box = town.token(), Box(town)
    assert token["n"] == "s1/n1" and token["d"] == "shop.example" and len(token["s"]) == 43
    answer = await box.enrol(token)
    assert answer.spiffe_id == "spiffe://shop.example/store/s1/node/n1"
    assert answer.central_spiffe_id == "spiffe://shop.example/central"
    assert answer.control_address == town.control
    assert hashlib.sha256(answer.bundle_der[0]).hexdigest() == token["f"]
    leaf = x509.load_der_x509_certificate(answer.chain_der[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [answer.spiffe_id]
    assert leaf.public_key() == box.key.public_key()
    async with box.control() as stub:
        call, welcome = await open_lane(stub, LANE_CONTROL)
        assert welcome.heartbeat_seconds == 5 and welcome.window_bytes == 1 << 20
        assert town.ask("nodes")["nodes"][0]["connected"] is True
        await call.done_writing()
    assert [e["outcome"] for e in town.audit("enrol") if e["target"] == "s1/n1"] == ["ok"]


async def test_the_enrolment_port_shows_the_pinned_root(town: Central) -> None:
    token = town.token(node="pin")
    host, _, port = town.enrol.partition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=Box(town).root_pem.decode())
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as tls:
        chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # public from Python 3.13 on
        shown = [hashlib.sha256(ssl.PEM_cert_to_DER_cert(c.public_bytes())).hexdigest() for c in chain]
    assert token["f"] in shown


async def test_a_lost_answer_is_given_again_to_the_same_key_only(town: Central) -> None:
    token, box = town.token(node="again"), Box(town, "again")
    first = await box.enrol(token)
    second = await box.enrol(token)
    assert first.chain_der == second.chain_der
    assert await refused(Box(town, "again"), token) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_USED")


async def test_forged_unknown_and_expired_tokens_are_refused(town: Central) -> None:
    token, box = town.token(node="bad"), Box(town, "bad")
    assert (await refused(box, token | {"s": "A" * 43}))[1] == "TOKEN_UNKNOWN"
    assert (await refused(box, token | {"i": "nosuch"}))[1] == "TOKEN_UNKNOWN"
    with sqlite3.connect(town.directory / "central" / "central.db") as db:
        db.execute("UPDATE token SET expires = 1 WHERE id = ?", (token["i"],))
    db.close()
    assert (await refused(box, token))[1] == "TOKEN_EXPIRED"
    outcomes = [e["outcome"] for e in town.audit("enrol") if e["target"] == f"token {token['i']}"]
    assert outcomes == ["TOKEN_UNKNOWN", "TOKEN_EXPIRED"]


async def test_a_request_for_another_node_or_with_a_wrong_key_is_refused_and_the_token_stays_good(
    town: Central,
) -> None:
    token, box = town.token(node="csr"), Box(town, "csr")
    other = box.csr(uri="spiffe://shop.example/store/s1/node/other")
    assert await refused(box, token, other) == (grpc.StatusCode.PERMISSION_DENIED, "CSR_WRONG_NODE")
    p384 = box.csr(key=ec.generate_private_key(ec.SECP384R1()))
    assert (await refused(box, token, p384))[1] == "CSR_INVALID"
    assert (await refused(box, token, box.csr()[:-1] + b"\0"))[1] == "CSR_INVALID"
    assert (await refused(box, token, b"nonsense"))[1] == "CSR_INVALID"
    await box.enrol(token)


async def test_a_new_box_in_an_old_place_shuts_the_old_one_out(town: Central) -> None:
    old, new = Box(town, "place"), Box(town, "place")
    await old.enrol(town.token(node="place"))
    await new.enrol(town.token(node="place"))
    async with old.control() as stub:
        assert await ended(stub.Session()) == (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED")
    assert town.audit("session")[-1]["outcome"] == "CERTIFICATE_REVOKED"


async def test_the_secret_of_a_token_is_nowhere_on_disk(town: Central) -> None:
    token = town.token(node="secret")
    for path in Path(town.directory).rglob("*"):
        if path.is_file():
            assert token["s"].encode() not in path.read_bytes()


async def test_renewal_gives_a_new_key_the_callers_own_name(town: Central) -> None:
    box = Box(town, "renew")
    await box.enrol(town.token(node="renew"))
    new = ec.generate_private_key(ec.SECP256R1())
    async with box.control() as stub:
        answer = await stub.Renew(RenewRequest(csr_der=box.csr(key=new)), timeout=10)
        for csr, why in ((box.csr(), "CSR_INVALID"), (box.csr(key=new, uri=box.id + "x"), "CSR_WRONG_NODE")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Renew(RenewRequest(csr_der=csr), timeout=10)
            assert reason(caught.value) == why
    box.key = new
    box.take(list(answer.chain_der))
    async with box.control() as stub:
        call, _ = await open_lane(stub, LANE_CONTROL)
        await call.done_writing()
    outcomes = [e["outcome"] for e in town.audit("renew") if e["actor"] == box.id]
    assert outcomes == ["ok", "CSR_INVALID", "CSR_WRONG_NODE"]
