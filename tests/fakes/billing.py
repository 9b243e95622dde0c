"""Central's database file with the bill of one node, chained and sealed with real keys; and ways to tamper with it."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from central.authority import new_key
from central.bill import ZERO_HASH, chain_hash, seal_text
from central.names import NodeName
from central.seals import Trusted
from central.store import nodes, records
from central.store.database import connect, migrate
from central.store.keys import Keys
from central.usage import query
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.operator_pb2 import QueryUsageRequest, TenantUsage
from storeedge.v1.record_pb2 import ChainHead, Record, UsageSample, UsageSeal
from storeedge.v1.types_pb2 import RECORD_CLASS_USAGE
from tests.fakes.authority import DOMAIN, Fleet, now

NODE = NodeName("s1", "n1")
EPOCH = "e1"


def sample(tenant: str, index: int, previous: bytes, cpu_nano: int = 5) -> UsageSample:
    made = UsageSample(
        tenant=tenant,
        job="thumbnails",
        generation=1,
        attempt=1,
        start_unix_nano=index * 60,
        end_unix_nano=index * 60 + 60,
        cpu_nano=cpu_nano,
        memory_byte_seconds=7,
        wall_nano=10,
        chain_index=index,
    )
    made.chain_hash = chain_hash(previous, made)
    return made


@dataclass
class Signer:
    """A node's key and certificate."""

    fleet: Fleet
    node: NodeName = NODE
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    certificate_der: bytes = b""

    def __post_init__(self) -> None:
        issued = self.fleet.authority.issue_node(self.node, self.key.public_key(), now())
        self.certificate_der = issued.chain_der[0]

    def seal(self, heads: dict[str, tuple[int, bytes]]) -> UsageSeal:
        made = UsageSeal(
            heads=[ChainHead(tenant=t, chain_index=i, chain_hash=h) for t, (i, h) in sorted(heads.items())],
            certificate_der=self.certificate_der,
        )
        made.signature = self.key.sign(seal_text(made), ec.ECDSA(hashes.SHA256()))
        return made


class Books:
    """Records of acme (samples 1..6) and bolt (1..3), by sequence number: a seal at 6 (acme 3, bolt 2) and at 11.

    1 a1, 2 b1, 3 a2, 4 a3, 5 b2, 6 seal, 7 a4, 8 b3, 9 a5, 10 a6, 11 seal.
    """

    def __init__(self, path: Path) -> None:
        self.db = connect(path)
        migrate(self.db)
        self.fleet = Fleet()
        self.signer = Signer(self.fleet)
        self.node = nodes.invite(self.db, NODE)
        self.records = self._written()
        self.store(1, self.records)

    def _written(self) -> list[Record]:
        heads: dict[str, tuple[int, bytes]] = {}
        made: list[Record] = []
        for what in "abaab*abaa*":
            if what == "*":
                made.append(Record(seal=self.signer.seal(heads)))
                continue
            tenant = {"a": "acme", "b": "bolt"}[what]
            index, last = heads.get(tenant, (0, ZERO_HASH))
            usage = sample(tenant, index + 1, last)
            heads[tenant] = (index + 1, usage.chain_hash)
            made.append(Record(usage=usage))
        return made

    def store(self, first: int, found: list[Record], epoch: str = EPOCH) -> None:
        """As central does it when a batch comes from the node."""
        batch = Batch(record_class=RECORD_CLASS_USAGE, first_seq=first, records=found)
        self.db.execute("BEGIN")
        records.store(self.db, self.node, epoch, batch, 1, Keys())
        self.db.execute("COMMIT")

    def bill(self) -> dict[str, TenantUsage]:
        trusted = Trusted(self.fleet.authority.root, [self.fleet.authority.issuing.certificate])
        return {usage.tenant: usage for usage in query(self.db, QueryUsageRequest(), trusted, DOMAIN)}

    def faults(self, tenant: str) -> list[str]:
        return list(self.bill()[tenant].faults)

    # --- by somebody with the database file -----------------------------------------------------

    def read(self, seq: int) -> Record:
        (body,) = self.db.execute("SELECT body FROM record WHERE seq = ?", (seq,)).fetchone()
        return Record.FromString(body)

    def rewrite(self, seq: int, record: Record | bytes) -> None:
        body = record if isinstance(record, bytes) else record.SerializeToString()
        self.db.execute("UPDATE record SET body = ? WHERE seq = ?", (body, seq))

    def delete(self, *seqs: int) -> None:
        self.db.executemany("DELETE FROM record WHERE seq = ?", [(seq,) for seq in seqs])

    def insert(self, seq: int, record: Record) -> None:
        self.db.execute(
            "INSERT INTO record (node_id, class, epoch, seq, received, body) VALUES (?, ?, ?, ?, 1, ?)",
            (self.node, RECORD_CLASS_USAGE, EPOCH, seq, record.SerializeToString()),
        )

    def renumber(self, by: int, above: int) -> None:
        """Close or make room among the numbers, and let central believe it."""
        rows = self.db.execute("SELECT id, seq FROM record WHERE seq > ? ORDER BY seq", (above,)).fetchall()
        for number, seq in rows if by < 0 else rows[::-1]:
            self.db.execute("UPDATE record SET seq = ? WHERE id = ?", (seq + by, number))
        self.held(*self.db.execute("SELECT max(seq) FROM record").fetchone())

    def held(self, seq: int) -> None:
        self.db.execute("UPDATE position SET seq = ?", (seq,))

    def rechain(self, first: int) -> None:
        """Make every hash of acme fit again, from a record on."""
        last = ZERO_HASH
        for seq, body in self.db.execute("SELECT seq, body FROM record ORDER BY id").fetchall():
            record = Record.FromString(body)
            if record.usage.tenant != "acme":
                continue
            if seq >= first:
                record.usage.chain_hash = chain_hash(last, record.usage)
                self.rewrite(seq, record)
            last = record.usage.chain_hash

    def close(self) -> None:
        self.db.close()
