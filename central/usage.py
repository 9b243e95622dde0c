"""The tenants' bill, as central answers for it from its records."""

import sqlite3

from central import ledger
from central.ledger import Account, Entry
from central.names import node_id
from central.operations import record_of, require
from central.seals import Trusted
from central.store import nodes, records
from central.store.nodes import NodeRow
from storeedge.v1.desired_pb2 import Budget, Desired
from storeedge.v1.operator_pb2 import QueryUsageRequest, TenantUsage
from storeedge.v1.types_pb2 import RECORD_CLASS_USAGE, NodeRef

_UINT64 = (1 << 64) - 1
_MAX_FAULTS = 20


def query(db: sqlite3.Connection, request: QueryUsageRequest, trusted: Trusted, domain: str) -> list[TenantUsage]:
    chosen = [require(db, request.node)] if request.HasField("node") else nodes.everyone(db)
    found: list[TenantUsage] = []
    for node in chosen:
        budgets = _budgets(db, node)
        ref = NodeRef(store=node.name.store, node=node.name.node)
        found += [
            answer(ref, account, budgets.get(account.tenant, Budget()))
            for account in _accounts(db, node, trusted.of(node_id(domain, node.name)))
            if request.tenant in ("", account.tenant)
        ]
    return found


def _accounts(db: sqlite3.Connection, node: NodeRow, trust: ledger.Trust) -> list[Account]:
    entries = (
        Entry(epoch, seq, record_of(body)) for epoch, seq, body in records.numbered(db, node.id, RECORD_CLASS_USAGE)
    )
    held = {epoch: (seq, seq) for epoch, seq in records.held(db, node.id, RECORD_CLASS_USAGE).items()}
    return ledger.examine(entries, trust, held)


def _budgets(db: sqlite3.Connection, node: NodeRow) -> dict[str, Budget]:
    _, content = nodes.desired(db, node.id)
    return {tenant.id: tenant.budget for tenant in Desired.FromString(content).tenants if tenant.HasField("budget")}


def answer(ref: NodeRef, account: Account, budget: Budget) -> TenantUsage:
    total = account.bill
    return TenantUsage(
        node=ref,
        tenant=account.tenant,
        cpu_nano=min(total.cpu_nano, _UINT64),
        memory_byte_seconds=min(total.memory_byte_seconds, _UINT64),
        disk_byte_seconds=min(total.disk_byte_seconds, _UINT64),
        network_receive_bytes=min(total.network_receive_bytes, _UINT64),
        network_transmit_bytes=min(total.network_transmit_bytes, _UINT64),
        wall_nano=min(total.wall_nano, _UINT64),
        samples=total.samples,
        chain_valid=not account.faults,
        sealed_index=account.sealed_index,
        faults=account.faults[:_MAX_FAULTS],
        credit_micro=budget.credit_micro,
        spent_micro=min(total.cost_micro(budget.prices), _UINT64),
    )
