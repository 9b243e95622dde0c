import asyncio
from pathlib import Path

from central.audit import Trail
from central.store import records
from central.store.database import Database
from storeedge.v1.types_pb2 import RECORD_CLASS_AUDIT

NODE = "spiffe://shop.example/store/s/node/n"


async def test_a_flood_of_strangers_does_not_fill_the_disk_nor_hide_a_node(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    trail = Trail(database, lambda: 1)
    async with asyncio.timeout(20):
        for port in range(300):
            await trail.refusal(f"ipv4:10.0.0.1:{port}", "enrol", "token x", "TOKEN_UNKNOWN", "forged")
        await trail.refusal(NODE, "session", "", "BAD_REQUEST", "batch.records")
    kept = await database.run(lambda db: records.read(db, None, RECORD_CLASS_AUDIT))
    database.close()
    assert 50 <= len(kept) < 150
    assert NODE.encode() in kept[-1].body
