"""Enrolment of a real agent with a real central, both as processes; a refusal is told and audited on both sides."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.errors import RefusedError
from agent.identity import renew, store, tls
from agent.identity.refusals import take_refusals
from storeedge.v1 import control_pb2, control_pb2_grpc

pytestmark = pytest.mark.integration

TOP = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Central:
    directory: Path
    enrol: str = ""

    def edgectl(self, *words: str) -> str:
        argv = [sys.executable, "-m", "central.cli", "--dir", str(self.directory), *words]
        return subprocess.run(argv, env=ENV, capture_output=True, text=True, check=True, timeout=50).stdout

    def token(self, node: str) -> str:
        return self.edgectl("token", "create", "--store", "s1", "--node", node, "--ttl", "1h").strip()

    def audit(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.edgectl("--json", "audit"))["audit"]
        return found

    def run(self) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "central", "--dir", str(self.directory)]
        ports = ["--listen", "127.0.0.1:0", "--enrol-listen", "127.0.0.1:0"]
        log = (self.directory / "log").open("w")
        with log:
            process = subprocess.Popen([*argv, *ports], env=ENV, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("central: ready "), (self.directory / "log").read_text()
        self.enrol = line.split("enrol=")[1].strip()
        return process


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Central, Central]]:
    """Two centrals that have nothing to do with each other, but the name of their trust domain."""
    both = Central(tmp_path_factory.mktemp("central")), Central(tmp_path_factory.mktemp("other"))
    for each in both:
        each.edgectl("init")
    processes = [each.run() for each in both]
    yield both
    for process in processes:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def central(fleets: tuple[Central, Central]) -> Central:
    return fleets[0]


def enrol(tmp_path: Path, address: str, token: str, *more: str) -> "subprocess.CompletedProcess[str]":
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    config = tmp_path / "agent.toml"
    config.write_text(f'[node]\nstate_dir = "{state}"\n')
    argv = [
        sys.executable,
        "-m",
        "agent",
        "--config",
        str(config),
        "enrol",
        "--central",
        address,
        "--token",
        "-",
        *more,
    ]
    return subprocess.run(argv, env=ENV, input=token, capture_output=True, text=True, check=False, timeout=50)


def fields(token: str) -> dict[str, str]:
    body = token.removeprefix("set1.")
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def changed(token: str, **others: str) -> str:
    body = json.dumps(fields(token) | others).encode()
    return "set1." + base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return done.stderr.strip().splitlines()[-1]


async def test_a_token_makes_a_node_that_central_takes_and_whose_certificate_it_renews(
    tmp_path: Path, central: Central
) -> None:
    done = enrol(tmp_path, central.enrol, central.token("granted"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("enrolled as spiffe://store-edge.example/store/s1/node/granted\n")
    identity = store.load(tmp_path / "state")
    assert (identity.directory / "key.pem").stat().st_mode & 0o777 == 0o600
    await tls.probe(identity)

    async with tls.channel(identity) as channel:

        async def call(csr_der: bytes) -> tuple[list[bytes], list[bytes]]:
            stub = control_pb2_grpc.ControlStub(channel)
            answer = await stub.Renew(control_pb2.RenewRequest(csr_der=csr_der), timeout=20)
            return list(answer.chain_der), list(answer.bundle_der)

        renewed = await renew.renew(tmp_path / "state", identity, call)
    assert renewed.key_pem != identity.key_pem
    await tls.probe(renewed)
    entries = [(e["action"], e["target"], e["outcome"]) for e in central.audit()]
    assert ("enrol", "s1/granted", "ok") in entries
    assert ("renew", "s1/granted", "ok") in entries


@pytest.mark.parametrize("flaw", ["used", "expired", "forged", "other node", "unknown"])
def test_a_token_that_will_not_do_is_refused_with_a_reason_on_both_sides(
    tmp_path: Path, central: Central, flaw: str
) -> None:
    node = f"n-{flaw.replace(' ', '-')}"
    token = central.token(node)
    match flaw:
        case "used":
            (tmp_path / "first").mkdir()
            assert enrol(tmp_path / "first", central.enrol, token).returncode == 0
            reason, words = "TOKEN_USED", "the token was used already"
        case "expired":
            with closing(sqlite3.connect(central.directory / "central" / "central.db")) as db, db:
                assert db.execute("UPDATE token SET expires = 1 WHERE id = ?", (fields(token)["i"],)).rowcount == 1
            reason, words = "TOKEN_EXPIRED", "the token has expired"
        case "forged":
            token = changed(token, s="A" * 43)
            reason, words = "TOKEN_UNKNOWN", "central knows no such token"
        case "other node":
            token = changed(token, n="s1/somebody-else")
            reason, words = "CSR_WRONG_NODE", "the token is for another node"
        case _:
            token = changed(token, i="nothing")
            reason, words = "TOKEN_UNKNOWN", "central knows no such token"
    done = enrol(tmp_path, central.enrol, token)
    assert done.returncode == 1
    assert last_line(done).startswith(f"edge-agent: central refused: {reason}: ")
    assert words in last_line(done)
    assert "Traceback" not in done.stderr
    assert not store.is_enrolled(tmp_path / "state")
    (kept,) = take_refusals(tmp_path / "state")
    assert (kept.action, kept.target, kept.outcome) == ("enrol", central.enrol, "PERMISSION_DENIED")
    assert reason in kept.detail
    told = [entry["outcome"] for entry in central.audit() if entry["target"] == f"token {fields(token)['i']}"]
    assert told == [reason]


def test_another_central_is_told_from_the_one_of_the_token_and_hears_nothing(
    tmp_path: Path, fleets: tuple[Central, Central]
) -> None:
    central, other = fleets
    before = len(other.audit())
    done = enrol(tmp_path, other.enrol, central.token("pinned"))
    assert done.returncode == 1
    assert "central's CA does not match the token" in last_line(done)
    assert "the token was not sent" in last_line(done)
    assert len(take_refusals(tmp_path / "state")) == 1
    assert [entry for entry in other.audit()[before:] if entry["action"] == "enrol"] == []


async def test_a_node_of_another_fleet_is_refused_by_both_sides_and_audited(
    tmp_path: Path, fleets: tuple[Central, Central]
) -> None:
    central, other = fleets
    assert enrol(tmp_path, other.enrol, other.token("stranger")).returncode == 0
    identity = store.load(tmp_path / "state")
    control = (central.directory / "operator" / "address").read_text()
    with pytest.raises(RefusedError, match="not from central's CA"):
        await tls.probe(identity, control)
    (identity.directory / "bundle.pem").write_bytes((central.directory / "central" / "root.crt").read_bytes())
    with pytest.raises(RefusedError, match="ended the connection upon our certificate"):
        await tls.probe(store.load(tmp_path / "state"), control)
    assert "CERTIFICATE_UNTRUSTED" in [e["outcome"] for e in central.audit() if e["action"] == "tls.handshake"]
    async with tls.channel(store.load(tmp_path / "state"), control) as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Renew(control_pb2.RenewRequest(csr_der=b"x"), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_enrolled_box_is_not_enrolled_again_by_accident(tmp_path: Path, central: Central) -> None:
    assert enrol(tmp_path, central.enrol, central.token("twice")).returncode == 0
    again = enrol(tmp_path, central.enrol, central.token("twice"))
    assert again.returncode == 1
    assert "--force" in last_line(again)
    assert enrol(tmp_path, central.enrol, central.token("twice"), "--force").returncode == 0
