"""Who gives way: spot before guaranteed, few, the youngest; and nobody for nothing."""

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.preemption import cover, victims, youngest
from agent.jobs.room import Capacity, Holder, total
from agent.spec import Limits, Priority
from tests.fakes.jobs import batch

SPOT, GUARANTEED, STORE = Priority.SPOT, Priority.GUARANTEED, Priority.STORE


def holder(id_, cpu, memory=1, since=0.0, priority=SPOT):
    return Holder(batch(id_, limits=Limits(cpu, memory), priority=priority), since)


def names(holders):
    return [one.spec.id for one in holders]


def test_one_that_is_enough_goes_alone_and_it_is_the_youngest_of_those() -> None:
    three = [holder("small", 100, since=9.0), holder("old", 500, since=1.0), holder("young", 500, since=2.0)]
    assert names(cover((400, 0, 0), youngest(three))) == ["young"]


def test_several_go_when_one_is_not_enough_and_none_too_many() -> None:
    four = [holder(name, 200, since=n) for n, name in enumerate("abcd")]
    assert names(cover((500, 0, 0), youngest(four))) == ["d", "c", "b"]


def test_nobody_goes_when_all_together_would_not_do() -> None:
    assert cover((500, 0, 0), [holder("a", 200), holder("b", 200)]) is None
    assert cover((0, 10, 0), [holder("a", 200, memory=9)]) is None


def test_guaranteed_jobs_are_spared_while_spot_is_enough_even_if_more_of_them_must_go() -> None:
    box = Capacity(1000, 100, True)
    running = [holder("g", 600, priority=GUARANTEED), holder("a", 200), holder("b", 200)]
    store = batch("s", limits=Limits(400, 1), priority=STORE)
    assert set(names(victims(store, running, box))) == {"a", "b"}
    store = batch("s", limits=Limits(500, 1), priority=STORE)
    assert "g" in names(victims(store, running, box))


def test_the_highest_class_gives_way_to_nobody() -> None:
    box = Capacity(1000, 100, True)
    assert victims(batch(limits=Limits(400, 1), priority=STORE), [holder("s", 900, priority=STORE)], box) is None


HOLDERS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99)), max_size=12)


@given(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 6)), HOLDERS)
def test_the_need_is_met_and_nobody_could_have_been_spared(need, figures) -> None:
    candidates = youngest(holder(f"j{n}", cpu, memory, since) for n, (cpu, memory, since) in enumerate(figures))
    found = cover(need, candidates)
    enough = lambda some: all(given >= n for given, n in zip(total(some), need, strict=True))  # noqa: E731
    if found is None:
        assert not enough(candidates)
        return
    assert enough(found)
    for one in found:
        assert not enough([other for other in found if other is not one])
