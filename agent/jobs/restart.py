"""Restart policy: whether a run is followed by another, and when. Pure."""

from agent.spec import JobKind, JobSpec, RestartMode, RestartPolicy

_REMEMBERED = 32  # starts kept when attempts have no bound: far beyond where any backoff reaches its cap
_MOST = 1000  # starts kept at all: they are written with each change of the job


def wanted(spec: JobSpec, *, ok: bool) -> bool:
    """Whether the policy asks for another run. A batch job that ended well is done, whatever its policy."""
    match spec.restart.mode:
        case RestartMode.NEVER:
            return False
        case RestartMode.ON_FAILURE:
            return not ok
        case RestartMode.ALWAYS:
            return spec.kind is JobKind.SERVICE or not ok


def recent(policy: RestartPolicy, starts: tuple[float, ...], at: float) -> tuple[float, ...]:
    """The starts that still count at `at`, oldest first."""
    kept = min(max(policy.max_attempts, _REMEMBERED), _MOST)
    return tuple(start for start in starts if start > at - policy.window_seconds)[-kept:]


def exhausted(policy: RestartPolicy, starts: tuple[float, ...]) -> bool:
    return 0 < min(policy.max_attempts, _MOST) <= len(starts)


def backoff_seconds(policy: RestartPolicy, starts: tuple[float, ...]) -> float:
    """Doubles with each recent run up to its cap. No jitter: the runs of one box are no herd."""
    doublings = min(max(len(starts) - 1, 0), _REMEMBERED)
    return min(policy.backoff_max_seconds, policy.backoff_seconds * (1 << doublings))
