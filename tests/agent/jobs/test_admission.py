"""Admission: each limit, named with its figures, and never more admitted than there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.admission import Capacity, Refusal, refusal
from agent.spec import Limits, Quota, Tenant
from tests.fakes.jobs import batch

ROOM = Capacity(cpu_milli=1500, memory_bytes=1 << 30, memory_controller=True)
ACME = {"acme": Tenant("acme", quota=Quota(jobs=2, cpu_milli=1000, memory_bytes=600 << 20))}


def asks(cpu_milli=100, memory_mib=64, tenant="acme"):
    return batch(tenant=tenant, limits=Limits(cpu_milli, memory_mib << 20))


def test_what_fits_is_admitted_to_the_last_unit() -> None:
    assert refusal(asks(500, 300), [asks(500, 300)], ACME, ROOM) is None


@pytest.mark.parametrize(
    ("spec", "admitted", "capacity", "expected"),
    [
        (
            asks(tenant="nobody"),
            [],
            ROOM,
            Refusal("unknown-tenant", "tenant nobody is not in the desired state"),
        ),
        (
            asks(),
            [asks(), asks()],
            ROOM,
            Refusal("tenant-jobs", "tenant acme: jobs at once: asks 1, 2 of 2 taken, 1 too many"),
        ),
        (
            asks(700),
            [asks(500)],
            ROOM,
            Refusal("tenant-cpu", "tenant acme: thousandths of a core: asks 700, 500 of 1000 taken, 200 too many"),
        ),
        (
            asks(memory_mib=400),
            [asks(memory_mib=300)],
            ROOM,
            Refusal(
                "tenant-memory",
                "tenant acme: bytes of memory: asks 419430400, 314572800 of 629145600 taken, 104857600 too many",
            ),
        ),
        (
            asks(1000),
            [asks(600, tenant="other")],
            ROOM,
            Refusal("store-cpu", "store: thousandths of a core: asks 1000, 600 of 1500 taken, 100 too many"),
        ),
        (
            asks(memory_mib=600),
            [asks(memory_mib=600, tenant="other")],
            ROOM,
            Refusal(
                "store-memory",
                "store: bytes of memory: asks 629145600, 629145600 of 1073741824 taken, 184549376 too many",
            ),
        ),
    ],
)
def test_a_refusal_names_the_limit_and_the_excess(spec, admitted, capacity, expected) -> None:
    assert refusal(spec, admitted, ACME, capacity) == expected


def test_without_a_memory_controller_nothing_is_admitted_and_the_remedy_is_named() -> None:
    found = refusal(asks(), [], ACME, Capacity(1500, 1 << 30, memory_controller=False))
    assert found is not None and found.reason == "no-memory-controller" and "cgroup_enable=memory" in found.message


def test_while_the_bill_cannot_be_written_nothing_is_admitted() -> None:
    found = refusal(asks(), [], ACME, Capacity(1500, 1 << 30, memory_controller=True, spool_takes=False))
    assert found is not None and found.reason == "spool-full"


def test_a_tenant_without_a_quota_has_none() -> None:
    found = refusal(asks(), [], {"acme": Tenant("acme")}, ROOM)
    assert found is not None and found.reason == "tenant-jobs"


@given(
    st.lists(st.builds(asks, st.integers(10, 900), st.integers(4, 500), st.sampled_from(["acme", "bolt"])), max_size=20)
)
def test_whatever_is_asked_no_limit_is_passed(specs) -> None:
    tenants = ACME | {"bolt": Tenant("bolt", quota=Quota(9, 1400, 1 << 30))}
    admitted = []
    for spec in specs:
        if refusal(spec, admitted, tenants, ROOM) is None:
            admitted.append(spec)
    assert sum(s.limits.cpu_milli for s in admitted) <= ROOM.cpu_milli
    assert sum(s.limits.memory_bytes for s in admitted) <= ROOM.memory_bytes
    for id_, tenant in tenants.items():
        own = [s for s in admitted if s.tenant == id_]
        assert len(own) <= tenant.quota.jobs
        assert sum(s.limits.cpu_milli for s in own) <= tenant.quota.cpu_milli
