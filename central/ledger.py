"""One node's usage records examined: totals of each tenant, and every fault by its sample and record. Pure.

A sample is named by its index in the tenant's chain, a record by its sequence number in the node's USAGE class. The
chain begins at index 1 after 32 zero bytes, and may begin again only with a new spool: a box that was set up anew.
A node that died between recording samples and noting that it had records its newest ones again, in the same order, up
to the newest: they count once. Anything else that comes twice is a fault.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from central.bill import ZERO_HASH, Bill, chain_hash
from storeedge.v1.record_pb2 import Record, UsageSample, UsageSeal

# What is wrong with a seal's signature or certificate; None when nothing is.
Trust = Callable[[UsageSeal], str | None]
# Spool epoch -> the highest sequence number of the class that central held at least, and at most, when this was read.
Held = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Entry:
    epoch: str
    seq: int
    record: Record  # without a body: what is stored is no record


@dataclass(frozen=True, slots=True)
class Account:
    """Of one tenant on one node."""

    tenant: str
    bill: Bill
    sealed_index: int  # newest sample under a valid signature of the node, 0 = none
    faults: tuple[str, ...]  # in the order of their records


@dataclass
class _Life:
    """One chain from index 1 on."""

    epoch: str
    samples: dict[int, Entry] = field(default_factory=dict[int, Entry])
    head: int = 0
    again: tuple[int, Entry] | None = None  # the index that has to come next while samples are repeated, and the first
    sealed: int = 0
    forged: bool = False

    def usage(self, index: int) -> UsageSample:
        return self.samples[index].record.usage


@dataclass
class _Tenant:
    lives: list[_Life] = field(default_factory=list[_Life])
    faults: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    bill: Bill = field(default_factory=Bill)

    def newest(self) -> _Life | None:
        return self.lives[-1] if self.lives else None


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A seal, and the life of each tenant's chain that it speaks of."""

    entry: Entry
    lives: Mapping[str, _Life | None]


@dataclass(frozen=True, slots=True)
class _Hole:
    """Samples that are not there, between two records."""

    epoch: str
    after_seq: int
    before_seq: int
    count: int


def examine(entries: Iterable[Entry], trust: Trust, held: Held | None) -> list[Account]:
    """The accounts of a node from its USAGE records in the order in which they came, by tenant.

    `held` None: only some of the node's records are here (one tenant's), so that their sequence says nothing.
    """
    books = _Books(trust)
    kept = list(entries)
    for entry in kept:
        books.enter(entry)
    holes = books.close()
    if held is not None:
        books.check_sequence(kept, held, holes)
    return books.accounts()


class _Books:
    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._tenants: dict[str, _Tenant] = {}
        self._seals: list[_Sealed] = []
        self._faults: list[tuple[int, str]] = []  # nobody knows whose: everybody's bill may be short

    def _tenant(self, name: str) -> _Tenant:
        return self._tenants.setdefault(name, _Tenant())

    def enter(self, entry: Entry) -> None:
        match entry.record.WhichOneof("body"):
            case "usage":
                self._sample(entry, self._tenant(entry.record.usage.tenant))
            case "seal":
                lives = {head.tenant: self._tenant(head.tenant).newest() for head in entry.record.seal.heads}
                self._seals.append(_Sealed(entry, lives))
            case "gap":
                gap = entry.record.gap
                self._faults.append((entry.seq, f"records {gap.first_seq}..{gap.last_seq}: lost, {gap.reason}"))
            case _:
                self._faults.append((entry.seq, f"record {entry.seq}: altered, it is no usage record any more"))

    def _sample(self, entry: Entry, tenant: _Tenant) -> None:
        index = entry.record.usage.chain_index
        life = tenant.newest()
        if life is None or (life.epoch != entry.epoch and index == 1):
            life = _Life(entry.epoch)
            tenant.lives.append(life)
        life.epoch = entry.epoch
        first = life.samples.get(index)
        if first is None:
            _end_repeat(life, tenant)
            if index < life.head:
                tenant.faults.append((entry.seq, f"{_name(entry)}: out of order, it came after sample {life.head}"))
            life.samples[index] = entry
            life.head = max(life.head, index)
            tenant.bill = tenant.bill.plus(entry.record.usage)
        elif first.record.usage != entry.record.usage:
            message = f"{_name(entry)}: not the sample {index} of record {first.seq}: one of the two is forged"
            tenant.faults.append((entry.seq, message))
        else:
            if life.again is not None and life.again[0] != index:
                _end_repeat(life, tenant)
            begun = life.again[1] if life.again else entry
            life.again = (index + 1, begun) if index < life.head else None

    def close(self) -> list[_Hole]:
        """Check chains and seals once all is entered; answers with what the chains lack."""
        holes: list[_Hole] = []
        for tenant in self._tenants.values():
            for life in tenant.lives:
                _end_repeat(life, tenant)
                holes += _check_chain(life, tenant)
        for sealed in self._seals:
            self._check_seal(sealed)
        return holes

    def _check_seal(self, sealed: _Sealed) -> None:
        seq = sealed.entry.seq
        seal = sealed.entry.record.seal
        wrong = self._trust(seal)
        if wrong is not None:
            self._faults.append((seq, f"seal in record {seq}: {wrong}"))
            return
        for head in seal.heads:
            life, tenant = sealed.lives[head.tenant], self._tenant(head.tenant)
            index = head.chain_index
            if life is None or index > life.head:
                newest = f"the newest here is {life.head}" if life and life.head else "none is here"
                message = f"sample {index}: cut off, the seal in record {seq} is over it, and {newest}"
                tenant.faults.append((seq, message))
            elif index in life.samples and life.usage(index).chain_hash == head.chain_hash:
                life.sealed = max(life.sealed, index)
            elif index in life.samples and not life.forged:
                life.forged = True
                since = f"since sample {life.sealed}" if life.sealed else "from the start"
                message = f"{_name(life.samples[index])}: forged {since}, the seal in record {seq} signs another hash"
                tenant.faults.append((seq, message))

    def check_sequence(self, entries: list[Entry], held: Held, holes: list[_Hole]) -> None:
        """The class is gapless in each spool: a number that is not there was there once."""
        spools: dict[str, list[Entry]] = {}
        for entry in entries:
            spools.setdefault(entry.epoch, []).append(entry)
        for epoch in {**spools, **held}:
            least, most = held.get(epoch, (0, 0))
            reached = 0
            for entry in spools.get(epoch, []):
                if entry.seq <= reached:
                    self._blame(entry, f"out of order, it stands after record {reached}")
                begins = entry.record.gap.first_seq if entry.record.WhichOneof("body") == "gap" else entry.seq
                self._missing(epoch, reached + 1, begins - 1, holes, spools[epoch])
                reached = max(reached, entry.seq)
                if epoch in held and entry.seq > most:
                    self._blame(entry, f"not from the node, which has delivered records up to {most}")
            self._missing(epoch, reached + 1, least, holes, [])

    def _missing(self, epoch: str, first: int, last: int, holes: list[_Hole], present: list[Entry]) -> None:
        if first > last:
            return
        numbers = {entry.seq for entry in present if first <= entry.seq <= last}  # they only stand elsewhere
        gone = last - first + 1 - len(numbers)
        known = sum(h.count for h in holes if h.epoch == epoch and h.after_seq < first and last < h.before_seq)
        if gone > known:  # the rest is a seal, or somebody's newest samples
            span = f"record {first}" if first == last else f"records {first}..{last}"
            self._faults.append((first, f"{span}: removed" + (f", {gone} of them" if numbers or known else "")))

    def _blame(self, entry: Entry, what: str) -> None:
        if entry.record.WhichOneof("body") == "usage":
            tenant = self._tenant(entry.record.usage.tenant)
            tenant.faults.append((entry.seq, f"{_name(entry)}: {what}"))
        else:
            self._faults.append((entry.seq, f"record {entry.seq}: {what}"))

    def accounts(self) -> list[Account]:
        return [
            Account(
                name,
                tenant.bill,
                tenant.lives[-1].sealed if tenant.lives else 0,
                tuple(text for _, text in sorted({*tenant.faults, *self._faults})),
            )
            for name, tenant in sorted(self._tenants.items())
        ]


def _end_repeat(life: _Life, tenant: _Tenant) -> None:
    """What came again did not go on to the newest sample: no node does that."""
    if life.again is not None:
        entry = life.again[1]
        first = life.samples[entry.record.usage.chain_index]
        tenant.faults.append((entry.seq, f"{_name(entry)}: repeated, it is record {first.seq} again; counted once"))
        life.again = None


def _check_chain(life: _Life, tenant: _Tenant) -> list[_Hole]:
    holes: list[_Hole] = []
    before, last, last_seq = 0, ZERO_HASH, 0
    for index in sorted(life.samples):
        entry, sample = life.samples[index], life.usage(index)
        if index > before + 1:
            span = f"sample {index - 1}" if index == before + 2 else f"samples {before + 1}..{index - 1}"
            where = f"between records {last_seq} and {entry.seq}" if before else f"before record {entry.seq}"
            tenant.faults.append((entry.seq, f"{span}: removed, {where}"))
            holes.append(_Hole(entry.epoch, last_seq, entry.seq, index - before - 1))
        elif sample.chain_hash != chain_hash(last, sample):
            after = f"after sample {before}" if before else "at the start of the chain"
            tenant.faults.append((entry.seq, f"{_name(entry)}: altered, its hash is not that of its figures {after}"))
        before, last, last_seq = index, sample.chain_hash, entry.seq
    return holes


def _name(entry: Entry) -> str:
    return f"sample {entry.record.usage.chain_index} (record {entry.seq})"
