"""Brings the images of jobs to the launcher. Many jobs of one image fetch it once; a withdrawn one stops its fetch."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.jobs.job import ImageEvent, Job, Prepared, PrepareFailed, Progress
from agent.model import JobState
from agent.sandbox import ImageState, Sandbox

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1  # an image that was unpacked before is there at once; unpacking takes seconds
_POLL_MAX_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_RETRY_MAX_SECONDS = 60.0
_TELL_SECONDS = 2.0  # between two progress messages; each is a write to the job database
_MIB = 1 << 20
# What the launcher says of itself, not of the image: its unpacking was killed, a loop device was busy.
_PASSING = frozenset({"INTERNAL", "CONFLICT"})

# The image's digest once the launcher can unpack it; told how far it is. See images: Artifacts.fetch.
Fetch = Callable[[str, Callable[[str], None]], Awaitable[str]]
Post = Callable[[str, ImageEvent], None]


class Preparer:
    def __init__(self, sandbox: Sandbox, fetch: Fetch, clock: Clock, post: Post) -> None:
        self._sandbox = sandbox
        self._fetch = fetch
        self._clock = clock
        self._post = post
        self._waiting: dict[str, set[str]] = {}  # reference -> jobs
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked = asyncio.Queue[str]()
        self._said: dict[str, tuple[float, str]] = {}

    def begin(self, job_id: str, reference: str) -> None:
        """Prepared or PrepareFailed comes of it, unless the job turns away from this image before."""
        self._waiting.setdefault(reference, set()).add(job_id)
        self._asked.put_nowait(reference)

    def follow(self, job_id: str, job: Job | None) -> None:
        """The job has changed; None = it is forgotten."""
        heading_for = ""
        if job is not None and job.successor is not None:
            heading_for = job.successor.image
        elif job is not None and job.state is JobState.PREPARING:
            heading_for = job.spec.image
        for reference in tuple(self._waiting):
            if reference != heading_for:
                self._leave(reference, job_id)

    def _leave(self, reference: str, job_id: str) -> None:
        waiting = self._waiting[reference]
        waiting.discard(job_id)
        if not waiting:
            del self._waiting[reference]
            if reference in self._tasks:
                self._tasks[reference].cancel()

    async def run(self) -> None:
        """Until cancelled. What was fetched so far stays; the next start of the agent asks again."""
        async with asyncio.TaskGroup() as group:
            while True:
                reference = await self._asked.get()
                if reference in self._waiting and reference not in self._tasks:
                    task = self._tasks[reference] = group.create_task(self._prepare(reference), name="jobs.prepare")
                    task.add_done_callback(partial(self._done, reference))

    def _done(self, reference: str, _: asyncio.Task[None]) -> None:
        del self._tasks[reference]
        self._said.pop(reference, None)
        if reference in self._waiting:  # asked for again while it was being cancelled
            self._asked.put_nowait(reference)

    async def _prepare(self, reference: str) -> None:
        event: ImageEvent
        try:
            image = await self._insist(reference)
        except RefusedError as error:
            event = PrepareFailed(reference, str(error), self._clock.seconds())
        else:
            event = Prepared(reference, image, self._clock.seconds())
        for job_id in self._waiting.pop(reference, ()):
            self._post(job_id, event)

    async def _insist(self, reference: str) -> str:
        """Until it works, or is refused for ever. Raises RefusedError."""
        wait = _RETRY_SECONDS
        while True:
            try:
                digest = await self._fetch(reference, lambda message: self._tell(reference, message))
                await self._unpacked(reference, digest)
            except (AwayError, StorageError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.reason not in _PASSING:
                    raise
                log.info("image is not here yet", extra={"image": reference, "error": str(error)})
                self._tell(reference, str(error))
            else:
                return digest
            await asyncio.sleep(wait)
            wait = min(_RETRY_MAX_SECONDS, wait * 2)

    async def _unpacked(self, reference: str, digest: str) -> None:
        """Raises RefusedError for an image that can't be used, AwayError when the launcher can't find it."""
        wait = _POLL_SECONDS
        while True:
            found = await self._sandbox.image(digest)
            match found.state:
                case "ready":
                    return
                case "failed":
                    raise RefusedError("BAD_REQUEST", found.message)
                case "absent":
                    raise AwayError(f"the launcher doesn't see {digest} yet")
                case "unpacking":
                    self._tell(reference, _unpacking(found))
            await asyncio.sleep(wait)
            wait = min(_POLL_MAX_SECONDS, wait * 2)

    def _tell(self, reference: str, message: str) -> None:
        now = self._clock.seconds()
        at, before = self._said.get(reference, (-_TELL_SECONDS, ""))
        if message == before or now < at + _TELL_SECONDS:
            return
        self._said[reference] = (now, message)
        for job_id in self._waiting.get(reference, ()):
            self._post(job_id, Progress(reference, message))


def _unpacking(state: ImageState) -> str:
    return f"unpacking: {state.done_bytes / _MIB:.0f} of {state.total_bytes / _MIB:.0f} MiB"
