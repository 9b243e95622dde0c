"""The bill as central answers for it; its faults are in test_ledger.py."""

from pathlib import Path

from central.store import nodes
from storeedge.v1.desired_pb2 import Budget, Desired, Prices, Tenant
from tests.fakes.billing import Books


def test_what_was_spent_is_said_where_prices_are_set(tmp_path: Path) -> None:
    books = Books(tmp_path / "central.db")
    budget = Budget(credit_micro=10_000_000, prices=Prices(cpu_core_hour_micro=3600 * 10**9))
    desired = Desired(tenants=[Tenant(id="acme", budget=budget), Tenant(id="bolt")])
    nodes.set_desired(books.db, books.node, desired.SerializeToString(), lambda *_: False)
    bill = books.bill()
    assert (bill["acme"].spent_micro, bill["acme"].credit_micro) == (30, 10_000_000)
    assert (bill["bolt"].spent_micro, bill["bolt"].credit_micro) == (0, 0)
    books.close()
