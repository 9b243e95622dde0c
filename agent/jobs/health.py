"""Results of a run's health check -> whether the run is healthy. Pure."""

from dataclasses import dataclass, replace

from agent.jobs.job import Healthy, Unhealthy
from agent.model import Health
from agent.spec import HealthCheck


@dataclass(frozen=True, slots=True)
class Tally:
    """Of one run since the agent watches it. `began_at` is when the run began, in seconds of CLOCK_BOOTTIME."""

    run: str
    check: HealthCheck
    began_at: float
    health: Health = Health.STARTING
    failures: int = 0  # in a row


def count(tally: Tally, passed: bool, message: str, at: float) -> tuple[Tally, Healthy | Unhealthy | None]:
    """One more result, and what is to be told of it.

    Failures before the first success count only from `start_seconds` on: what is still starting up isn't ill. A run is
    called healthy once, and unhealthy once: then it is stopped.
    """
    if tally.health is Health.UNHEALTHY:
        return tally, None
    if passed:
        first = None if tally.health is Health.HEALTHY else Healthy(tally.run, at)
        return replace(tally, health=Health.HEALTHY, failures=0), first
    if tally.health is Health.STARTING and at < tally.began_at + tally.check.start_seconds:
        return tally, None
    failures = tally.failures + 1
    if failures < tally.check.failures:
        return replace(tally, failures=failures), None
    said = f"check failed {failures} times in a row"
    told = Unhealthy(tally.run, f"{said}: {message}" if message else said, at)
    return replace(tally, failures=failures, health=Health.UNHEALTHY), told
