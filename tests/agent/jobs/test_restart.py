"""Restart policy, alone."""

import pytest

from agent.jobs.restart import backoff_seconds, exhausted, recent, wanted
from agent.spec import RestartMode, RestartPolicy
from tests.fakes.jobs import batch, service


@pytest.mark.parametrize(
    ("kind", "mode", "after_success", "after_failure"),
    [
        (batch, RestartMode.NEVER, False, False),
        (batch, RestartMode.ON_FAILURE, False, True),
        (batch, RestartMode.ALWAYS, False, True),
        (service, RestartMode.NEVER, False, False),
        (service, RestartMode.ON_FAILURE, False, True),
        (service, RestartMode.ALWAYS, True, True),
    ],
)
def test_who_runs_again(kind, mode, after_success, after_failure) -> None:
    spec = kind(restart=RestartPolicy(mode))
    assert (wanted(spec, ok=True), wanted(spec, ok=False)) == (after_success, after_failure)


def test_only_starts_within_the_window_count() -> None:
    policy = RestartPolicy(RestartMode.ALWAYS, max_attempts=2, window_seconds=60)
    assert recent(policy, (0.0, 39.9, 40.1, 90.0), at=100.0) == (40.1, 90.0)
    assert exhausted(policy, (40.1, 90.0)) and not exhausted(policy, (90.0,))


def test_without_a_bound_memory_is_still_bounded_and_backoff_stays_at_its_cap() -> None:
    policy = RestartPolicy(RestartMode.ALWAYS, backoff_seconds=1, backoff_max_seconds=60)
    kept = recent(policy, tuple(float(n) for n in range(500)), at=500.0)
    assert len(kept) <= 32 and not exhausted(policy, kept)
    assert backoff_seconds(policy, kept) == 60
    assert backoff_seconds(policy, ()) == backoff_seconds(policy, (1.0,)) == 1


def test_a_bound_of_attempts_is_itself_bounded() -> None:
    policy = RestartPolicy(RestartMode.ALWAYS, max_attempts=1_000_000, window_seconds=1_000_000)
    kept = recent(policy, tuple(float(n) for n in range(5000)), at=5000.0)
    assert len(kept) == 1000 and exhausted(policy, kept) and not exhausted(policy, kept[1:])
