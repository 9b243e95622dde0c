"""A job as the runner knows it, what can happen to it (events), and what can be done about it (commands).

States are model.JobState. FINISHED, FAILED and LOST are final for a generation; REJECTED is looked at again when room
may have come. Times named `at` are seconds of CLOCK_BOOTTIME in the running boot.
"""

from dataclasses import dataclass

from agent.model import Event as Report
from agent.model import Health, JobState
from agent.spec import JobSpec

FINAL = frozenset({JobState.FINISHED, JobState.FAILED, JobState.LOST})
LIVE = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})  # the launcher may hold a run of it
HOLDS_ROOM = LIVE | {JobState.PREPARING, JobState.BACKING_OFF}


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
    evicted: bool = False  # once this run has stopped the job waits for room again
    successor: JobSpec | None = None  # what takes its place: once its image is here, then once this run has stopped
    gone: bool = False  # no longer desired; kept so that a batch job is not run twice
    first: bool = False  # held room until a moment ago: is looked at before others of its class that wait
    pid: int = 0  # of the job's init on the host; 0 = not running
    exit_code: int | None = None
    started_unix_nano: int = 0
    ended_unix_nano: int = 0
    image: str = ""  # what the launcher runs: "host" or "sha256:HEX"; empty until it was prepared
    disk_bytes: int = 0  # the launcher may hold a disk of this size for it, until RemoveDisk
    health: Health = Health.UNKNOWN
    healthy_by: float | None = None  # end of the window in which this generation has to prove itself
    proven: JobSpec | None = None  # the newest spec that was healthy: what a failed update goes back to
    proven_attempt: int = 0  # number of the newest run of `proven`, so that its next has a new name
    refused: int = 0  # the newest generation that was rolled back; not tried again


# --- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admitted:
    at: float


@dataclass(frozen=True, slots=True)
class Waits:
    """There is no room yet, but others have been asked to make some."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The launcher has `image` ready; `reference` is the JobSpec.image that it was asked for by."""

    reference: str
    image: str
    at: float


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """The image can never be used: it isn't what its digest says, is hostile or too big."""

    reference: str
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the image is, or why it isn't coming at the moment."""

    reference: str
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
class ImageGone:
    """The run was not started: the launcher has its image no more. It is to be prepared again."""

    run: str
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
class Healthy:
    """The run's check has passed for the first time."""

    run: str
    at: float


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """The run's check has failed as often in a row as it may."""

    run: str
    message: str
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
class HealthyDue:
    """The window in which a generation has to prove itself is over."""

    at: float


@dataclass(frozen=True, slots=True)
class Evicted:
    """It must give its room back now. It may have it again later, by admission."""

    reason: str
    message: str
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


RunEvent = Started | StartFailed | ImageGone | Exited | LostRun | Healthy | Unhealthy
ImageEvent = Prepared | PrepareFailed | Progress
TimeEvent = RetryDue | DeadlineReached | GraceOver | HealthyDue | HostRebooted
Wish = Admitted | Waits | Rejected | Evicted | StopAsked | Withdrawn | Replaced | Returned
Event = RunEvent | ImageEvent | TimeEvent | Wish


# --- commands ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Fetch and unpack `spec.image`, however long it takes; Prepared or PrepareFailed comes of it."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class StartRun:
    run: str
    spec: JobSpec
    image: str  # "host" or "sha256:HEX"
    before: str = ""  # the run before, to be removed once the launcher has answered: a start comes first


@dataclass(frozen=True, slots=True)
class WatchRun:
    run: str


@dataclass(frozen=True, slots=True)
class Stop:
    run: str
    signal: str  # JobSpec.stop_signal


@dataclass(frozen=True, slots=True)
class Kill:
    run: str


@dataclass(frozen=True, slots=True)
class RemoveRun:
    run: str


@dataclass(frozen=True, slots=True)
class RemoveDisk:
    tenant: str
    job: str


Action = Prepare | StartRun | WatchRun | Stop | Kill | RemoveRun | RemoveDisk
Command = Action | Report
