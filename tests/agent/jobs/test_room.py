"""What the box has and who has some of it."""

from agent.jobs.room import Capacity, Holder, excess, left, needs, of_tenants, tenants_excess, total, whole
from agent.spec import Limits, Priority, Reserve
from tests.fakes.jobs import batch

BOX = Capacity(4000, 1000, True, runs=8, reserve=Reserve(1500, 400))


def holder(cpu, memory, **changes):
    room = changes.pop("room", True)
    return Holder(batch(limits=Limits(cpu, memory), **changes), room=room)


def test_a_job_needs_its_limits_and_one_run() -> None:
    assert needs(holder(100, 20).spec) == (100, 20, 1)


def test_what_only_keeps_a_disk_holds_no_room() -> None:
    assert total([holder(100, 20), holder(7, 7, room=False), holder(1, 2)]) == (101, 22, 2)


def test_the_store_leaves_what_it_does_not_reserve_and_never_less_than_nothing() -> None:
    assert (whole(BOX), left(BOX)) == ((4000, 1000, 8), (2500, 600, 8))
    assert left(Capacity(1000, 100, True, runs=8, reserve=Reserve(1500, 400))) == (0, 0, 8)


def test_excess_is_by_resource_and_never_negative() -> None:
    assert excess((10, 10, 1), (90, 95, 0), (100, 100, 5)) == (0, 5, 0)


def test_the_stores_own_jobs_do_not_count_against_tenants() -> None:
    own = holder(2000, 500, priority=Priority.STORE)
    assert of_tenants([own, holder(1, 1)]) == [holder(1, 1)]
    assert tenants_excess((2501, 0, 1), [own], BOX) == (1, 0, 0)
