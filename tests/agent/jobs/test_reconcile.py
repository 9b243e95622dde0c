"""Desired against known: what is created, replaced, withdrawn, returned and forgotten."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.job import Job, Replaced, Returned, Withdrawn
from agent.jobs.machine import step
from agent.jobs.reconcile import KEPT_GONE, Plan, reconcile
from agent.model import JobState
from tests.fakes.jobs import batch, running, service

NOTHING = Plan((), (), ())


def test_what_is_as_desired_is_left_alone() -> None:
    assert reconcile([batch(), service()], {"b": running(batch()), "s": running(service())}, 1.0) == NOTHING


def test_what_is_new_is_created_in_the_desired_order() -> None:
    assert reconcile([service(), batch()], {}, 1.0).create == (service(), batch())


def test_the_highest_of_two_generations_of_one_id_counts() -> None:
    assert reconcile([batch(generation=2), batch()], {}, 1.0).create == (batch(generation=2),)


def test_only_a_higher_generation_replaces() -> None:
    known = {"b": running(batch(generation=2))}
    assert reconcile([batch(generation=1)], known, 1.0) == NOTHING
    assert reconcile([batch(generation=2, command=("/bin/false",))], known, 1.0) == NOTHING
    higher = batch(generation=3)
    assert reconcile([higher], known, 1.0).advance == (("b", Replaced(higher, 1.0)),)


def test_a_replacement_under_way_is_not_ordered_again() -> None:
    job = replace(running(service()), state=JobState.STOPPING, reason="replaced", successor=service(generation=2))
    assert reconcile([service(generation=2)], {"s": job}, 1.0) == NOTHING
    assert reconcile([service(generation=3)], {"s": job}, 1.0).advance[0][1].spec.generation == 3


def test_a_generation_that_was_rolled_back_is_not_tried_again_but_a_higher_one_is() -> None:
    job = running(service(), refused=2)
    assert reconcile([service(generation=2)], {"s": job}, 1.0) == NOTHING
    third = service(generation=3)
    assert reconcile([third], {"s": job}, 1.0).advance == (("s", Replaced(third, 1.0)),)


def test_a_job_that_was_rolled_back_and_withdrawn_returns_as_what_was_healthy() -> None:
    leaving, _ = step(running(service(), refused=2), Withdrawn(1.0))
    assert reconcile([service(generation=2)], {"s": leaving}, 1.0).advance == (("s", Returned(service())),)


def test_a_successor_whose_image_is_still_fetched_is_not_ordered_again() -> None:
    job = replace(running(service()), successor=service(generation=2, image="x"))
    assert reconcile([service(generation=2, image="x")], {"s": job}, 1.0) == NOTHING


def test_what_is_no_longer_desired_is_withdrawn_once() -> None:
    job = running(service())
    assert reconcile([], {"s": job}, 1.0).advance == (("s", Withdrawn(1.0)),)
    leaving, _ = step(job, Withdrawn(1.0))
    assert reconcile([], {"s": leaving}, 1.0) == NOTHING


def test_what_comes_back_returns() -> None:
    leaving, _ = step(running(service()), Withdrawn(1.0))
    assert reconcile([service()], {"s": leaving}, 1.0).advance == (("s", Returned(service())),)
    gone = replace(running(batch()), state=JobState.FINISHED, gone=True)
    assert reconcile([batch()], {"b": gone}, 1.0).advance == (("b", Returned(batch())),)


def test_a_job_that_never_ran_is_forgotten_and_one_that_ran_is_remembered() -> None:
    never = Job(batch("never"), JobState.FINISHED, gone=True)
    ran = replace(running(batch("ran")), state=JobState.FINISHED, gone=True)
    assert reconcile([], {"never": never, "ran": ran}, 1.0) == Plan((), (), ("never",))


def test_memory_of_gone_jobs_is_bounded_and_loses_the_oldest() -> None:
    known = {
        f"b{n}": replace(running(batch(f"b{n}")), state=JobState.FINISHED, gone=True, ended_unix_nano=n)
        for n in range(KEPT_GONE + 2)
    }
    assert set(reconcile([], known, 1.0).forget) == {"b0", "b1"}


SPECS = st.lists(st.builds(batch, st.sampled_from("abc"), generation=st.integers(1, 3)), max_size=4)


@given(SPECS, SPECS)
def test_after_its_own_plan_nothing_is_left_to_do(first, second) -> None:
    known: dict[str, Job] = {}
    for specs in (first, second):
        for _ in range(2):
            plan = reconcile(specs, known, 1.0)
            known |= {spec.id: Job(spec) for spec in plan.create}
            for id_, event in plan.advance:
                known[id_], _ = step(known[id_], event)
            for id_ in plan.forget:
                del known[id_]
        assert reconcile(specs, known, 1.0) == NOTHING
        assert {id_ for id_, job in known.items() if not job.gone} == {spec.id for spec in specs}
