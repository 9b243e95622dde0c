"""agent/identity/tls.py, against gRPC's own server on loopback."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from agent.errors import AwayError, CorruptError, RefusedError
from agent.identity import tls
from central.authority import key_pem, pem
from tests.fakes.authority import DOMAIN, Fleet, now


class Echo(grpc.GenericRpcHandler):
    """Any method repeats what it is sent, and tells the caller's SPIFFE id."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def echo(request: bytes, context: Any) -> bytes:
            return request + b" from " + context.auth_context()["peer_spiffe_id"][0]

        return grpc.unary_unary_rpc_method_handler(echo)


@asynccontextmanager
async def central(fleet: Fleet) -> AsyncGenerator[str]:
    server = grpc.aio.server(handlers=[Echo()])
    port = server.add_secure_port("127.0.0.1:0", fleet.server_credentials())
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_central_is_reached_and_knows_the_node(tmp_path: Path) -> None:
    fleet = Fleet()
    async with central(fleet) as address:
        identity = await fleet.identity(tmp_path, address)
        await tls.probe(identity)
        async with tls.channel(identity) as channel:
            answer = await channel.unary_unary("/x/Echo")(b"hello", timeout=10)
    assert answer == b"hello from " + identity.spiffe_id.encode()


async def test_an_expired_certificate_is_told_from_a_dead_network(tmp_path: Path) -> None:
    fleet = Fleet()
    async with central(fleet) as address:
        identity = await fleet.identity(tmp_path, address, age=timedelta(days=40))
        with pytest.raises(RefusedError, match="upon our certificate: it has expired or is not") as caught:
            await tls.probe(identity)
    assert caught.value.reason == "PERMISSION_DENIED"


async def test_a_certificate_of_another_authority_is_refused_by_central(tmp_path: Path) -> None:
    fleet, other = Fleet(), Fleet()
    async with central(fleet) as address:
        identity = await other.identity(tmp_path, address, trust=fleet)
        with pytest.raises(RefusedError, match="upon our certificate"):
            await tls.probe(identity)


async def test_a_server_of_another_authority_is_refused_by_us(tmp_path: Path) -> None:
    fleet, other = Fleet(), Fleet()
    async with central(other) as address:
        identity = await fleet.identity(tmp_path, address)
        with pytest.raises(RefusedError, match="certificate is not from central's CA"):
            await tls.probe(identity)


async def test_a_server_of_another_domain_is_refused_by_its_name(tmp_path: Path) -> None:
    fleet, other = Fleet(), Fleet("else.example")
    async with central(other) as address:
        identity = await fleet.identity(tmp_path, address, trust=other)
        with pytest.raises(RefusedError, match="not central: its certificate has another name"):
            await tls.probe(identity)


async def test_a_server_with_centrals_name_and_another_spiffe_id_is_refused(tmp_path: Path) -> None:
    fleet = Fleet()
    async with central(fleet) as address:
        identity = await fleet.identity(tmp_path, address, central_id=f"spiffe://{DOMAIN}/central-west")
        with pytest.raises(RefusedError, match=f"the server is spiffe://{DOMAIN}/central, not .*central-west"):
            await tls.probe(identity)


async def test_nobody_there_is_away(tmp_path: Path) -> None:
    identity = await Fleet().identity(tmp_path, "127.0.0.1:1")
    with pytest.raises(AwayError, match=r"127\.0\.0\.1:1 can't be reached"):
        await tls.probe(identity)


async def test_broken_files_of_ours_are_named(tmp_path: Path) -> None:
    identity = await Fleet().identity(tmp_path)
    (identity.directory / "key.pem").write_text("-----BEGIN nothing")
    with pytest.raises(CorruptError, match="is broken"):
        await tls.probe(identity)


async def test_the_agents_own_port_takes_callers_of_the_same_authority_only(tmp_path: Path) -> None:
    fleet = Fleet()
    caller = await fleet.identity(tmp_path)
    pair = fleet.authority.issue_server(now())
    chain = pem(pair.certificate, fleet.authority.issuing.certificate)
    server = grpc.aio.server(handlers=[Echo()])
    credentials = tls.server_credentials(replace(caller, key_pem=key_pem(pair.key), chain_pem=chain))
    address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    async with tls.channel(caller, address) as channel:
        assert await channel.unary_unary("/x/Echo")(b"hello", timeout=10) == b"hello from " + caller.spiffe_id.encode()
    anonymous = grpc.ssl_channel_credentials(caller.bundle_pem)
    async with tls.secure_channel(address, anonymous, DOMAIN) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/x/Echo")(b"hello", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(None)
