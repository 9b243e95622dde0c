"""A job as the runner knows it, what can happen to it (events), and what can be done about it (commands).

States are model.JobState. FINISHED, FAILED and LOST are final for a generation; REJECTED is looked at again when room
may have come. Times named `at` are seconds of CLOCK_BOOTTIME in the running boot.
"""

from dataclasses import dataclass

from agent.model import Event as Report
from agent.model import JobState
from agent.spec import JobSpec

FINAL = frozenset({JobState.FINISHED, JobState.FAILED, JobState.LOST})
LIVE = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})  # the launcher may hold a run of it
HOLDS_ROOM = LIVE | {JobState.BACKING_OFF}


@dataclass(frozen=True, slots=True)
class Job:
    spec: JobSpec
    state: JobState = JobState.PENDING
    reason: str = ""  # docs/TENANTS.md lists them
    message: str = ""
    attempt: int = 0  # number of the newest run of this generation, 1 for the first; never used twice
    run: str = ""  # newest run whose traces (log, usage) the launcher still holds, perhaps of an older generation
    starts: tuple[float, ...] = ()  # when the runs began that still count for restart.max_attempts
    due_at: float | None = None  # end of backoff, deadline or grace, by state
    killed: bool = False  # KILL was ordered for this run
    successor: JobSpec | None = None  # what to run once this run has stopped
    gone: bool = False  # no longer desired; kept so that a batch job is not run twice
    pid: int = 0  # of the job's init on the host; 0 = not running
    exit_code: int | None = None
    started_unix_nano: int = 0
    ended_unix_nano: int = 0


# --- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admitted:
    at: float


@dataclass(frozen=True, slots=True)
class Rejected:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Started:
    run: str
    pid: int
    started_unix_nano: int
    at: float  # when the run began, which may be some time ago


@dataclass(frozen=True, slots=True)
class StartFailed:
    run: str
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Exited:
    run: str
    exit_code: int
    oom: bool
    ended_unix_nano: int
    at: float


@dataclass(frozen=True, slots=True)
class LostRun:
    """The launcher no longer knows how the run ended, or that it ever was."""

    run: str
    at: float


@dataclass(frozen=True, slots=True)
class HostRebooted:
    """Every run of the boot before is gone. `at` is in the new boot."""

    at: float


@dataclass(frozen=True, slots=True)
class RetryDue:
    at: float


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    at: float


@dataclass(frozen=True, slots=True)
class GraceOver:
    at: float


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody stops the run; the job stays desired and its restart policy has the next word."""

    at: float


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """No longer desired."""

    at: float


@dataclass(frozen=True, slots=True)
class Replaced:
    """Desired in a higher generation."""

    spec: JobSpec
    at: float


@dataclass(frozen=True, slots=True)
class Returned:
    """Desired again in the generation that was withdrawn."""

    spec: JobSpec


RunEvent = Started | StartFailed | Exited | LostRun
Event = (
    Admitted
    | Rejected
    | RunEvent
    | HostRebooted
    | RetryDue
    | DeadlineReached
    | GraceOver
    | StopAsked
    | Withdrawn
    | Replaced
    | Returned
)


# --- commands ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartRun:
    run: str
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class WatchRun:
    run: str


@dataclass(frozen=True, slots=True)
class Term:
    run: str


@dataclass(frozen=True, slots=True)
class Kill:
    run: str


@dataclass(frozen=True, slots=True)
class RemoveRun:
    run: str


Action = StartRun | WatchRun | Term | Kill | RemoveRun
Command = Action | Report
