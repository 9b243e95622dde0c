"""Secrets through, and bills at, a real central: what is kept, and what edgectl finds when it is edited."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.identity import sealing
from agent.link.desired import decode
from central.bill import ZERO_HASH, seal_text
from storeedge.v1 import control_pb2 as wire
from storeedge.v1.record_pb2 import ChainHead, Record, UsageSeal
from storeedge.v1.types_pb2 import LANE_BULK, LANE_CONTROL, RECORD_CLASS_USAGE
from tests.fakes.billing import sample
from tests.integration.central_parts import Box, Central, ack, central, ended, hello, open_lane

pytestmark = pytest.mark.integration

SECRET = "hunter2-correct-horse-battery"
APPLY = """
[[tenant]]
id = "acme"
quota = { jobs = 1, cpu_milli = 100, memory = "64MiB" }
budget = { credit = "5", cpu_core_hour = "3600" }

[[job]]
id = "shop"
tenant = "acme"
kind = "batch"
command = ["true"]
cpu_milli = 100
memory = "64MiB"
secrets = { DB_PASSWORD = { file = "db.pw" } }
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with central(tmp_path_factory.mktemp("central"), "--heartbeat", "5") as found:
        yield found


@asynccontextmanager
async def node(town: Central, name: str) -> AsyncIterator[tuple[Box, Any]]:
    box = Box(town, name)
    await box.enrol(town.token(node=name))
    async with box.control() as stub:
        yield box, stub


async def test_a_secret_reaches_its_node_and_nobody_else(town: Central, tmp_path: Path) -> None:
    file, password = tmp_path / "apply.toml", tmp_path / "db.pw"
    file.write_text(APPLY)
    password.write_text(SECRET)
    target = ("--node", "s1/vault")
    async with node(town, "vault") as (_, stub):
        refusal = town.edgectl("apply", str(file), *target, code=1)
        assert "s1/vault: its sealing key is not known" in refusal.stderr
        first = hello(LANE_CONTROL)
        key = tmp_path / "sealing.key"
        first.hello.sealing_key_der = await sealing.ensure(key)
        call = stub.Session()
        await call.write(first)
        assert (await call.read()).WhichOneof("frame") == "welcome"
        applied = await asyncio.to_thread(town.ask, "apply", str(file), *target)
        assert applied["applied"][0]["revision"] == 1
        (job,) = decode((await call.read()).desired).jobs
        assert await sealing.unseal(key, job.tenant, job.id, job.secrets) == {"DB_PASSWORD": SECRET.encode()}

        again = await asyncio.to_thread(town.ask, "apply", str(file), *target)
        assert (again["applied"][0]["revision"], again["applied"][0]["changed"]) == (1, False)
        password.write_text(f"{SECRET}!")
        changed = await asyncio.to_thread(town.ask, "apply", str(file), *target)
        assert (changed["applied"][0]["revision"], changed["applied"][0]["changed"]) == (2, True)
        call.cancel()
    kept = [path for path in town.directory.rglob("*") if path.is_file()]
    assert any(path.name == "central.db" for path in kept)
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def sealed(box: Box, index: int, chain_hash: bytes) -> Record:
    certificate = x509.load_pem_x509_certificates(box.chain_pem)[0].public_bytes(Encoding.DER)
    head = ChainHead(tenant="acme", chain_index=index, chain_hash=chain_hash)
    seal = UsageSeal(heads=[head], certificate_der=certificate)
    seal.signature = box.key.sign(seal_text(seal), ec.ECDSA(hashes.SHA256()))
    return Record(seal=seal)


def batch(first: int, *found: Record) -> wire.AgentFrame:
    return wire.AgentFrame(batch=wire.Batch(record_class=RECORD_CLASS_USAGE, first_seq=first, records=found))


async def test_edgectl_recomputes_a_bill_names_what_was_edited_and_checks_it_offline(
    town: Central, tmp_path: Path
) -> None:
    async with node(town, "till") as (box, stub):
        call, _ = await open_lane(stub, LANE_BULK)
        found, last = list[Record](), ZERO_HASH
        for index in range(1, 6):
            usage = sample("acme", index, last, cpu_nano=10**9)
            found, last = [*found, Record(usage=usage)], usage.chain_hash
        await call.write(batch(1, *found, sealed(box, 5, last)))
        assert await ack(call) == 6
        call.cancel()
    (tmp_path / "db.pw").write_text("x")
    (tmp_path / "apply.toml").write_text(APPLY.replace("secrets", "# secrets"))
    town.edgectl("apply", str(tmp_path / "apply.toml"), "--node", "s1/till")

    verify = ("usage", "s1/till", "--tenant", "acme", "--verify")
    (usage_row,) = town.ask(*verify)["usage"]
    assert (usage_row["samples"], usage_row["sealed_index"], usage_row["faults"]) == (5, 5, [])
    assert (usage_row["spent_micro"], usage_row["credit_micro"]) == (5_000_000, 5_000_000)
    assert "verified 5 samples: chains, totals and seals are as recorded" in town.edgectl(*verify).stdout

    statement = tmp_path / "bill.jsonl"
    town.edgectl("usage", "s1/till", "--tenant", "acme", "--export", str(statement))
    root = town.directory / "operator" / "root.crt"
    elsewhere = ("--dir", str(tmp_path), "usage", "--from", str(statement), "--ca", str(root))
    assert "verified 5 samples" in town.edgectl(*elsewhere).stdout
    text = statement.read_text().replace('"cpu_nano": "1000000000"', '"cpu_nano": "900000000"', 1)
    statement.write_text(text)
    assert "sample 1 (record 1): altered" in town.edgectl(*elsewhere, code=1).stdout

    with sqlite3.connect(town.directory / "central" / "central.db") as db:
        db.execute("DELETE FROM record WHERE class = ? AND seq = 3", (RECORD_CLASS_USAGE,))
    db.close()
    broken = town.edgectl(*verify, code=1).stdout
    assert "s1/till acme: sample 3: removed, between records 2 and 4" in broken
    assert town.ask("usage", "s1/till")["usage"][0]["chain_valid"] is False


async def test_a_batch_of_usage_may_hold_seals_and_no_other_class_may(town: Central) -> None:
    async with node(town, "classes") as (box, stub):
        call, _ = await open_lane(stub, LANE_BULK)
        wrong = batch(1, sealed(box, 1, bytes(32)))
        wrong.batch.record_class = 1  # type: ignore[assignment]  # audit
        await call.write(wrong)
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
