"""Images on this box: fetched once, kept while a job names them, forgotten when room is short."""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.clock import Clock
from agent.config.schema import ImagesConfig
from agent.errors import AwayError, CorruptError, EdgeError, RefusedError, StorageError
from agent.jobs.images import keep
from agent.jobs.images.blobs import Blobs
from agent.jobs.images.reference import Reference, parse
from agent.jobs.images.skopeo import Skopeo
from agent.jobs.images.sources import Found, Layout, Registry, Source, look
from agent.jobs.images.uploads import Uploads
from agent.model import ImageView
from agent.runtime.service import pause
from agent.sandbox import ImageState

log = logging.getLogger(__name__)

Progress = Callable[[str], None]

_PULSE_SECONDS = 3.0
_AT_ONCE = 2  # fetches; more would share the same WAN
_MOST_LIES = 3
_UPLOAD_SECONDS = 7 * 86_400  # what nobody has added to for a week was given up


@dataclass(slots=True)
class _Flight:
    """One image under way, however many jobs wait for it."""

    digest: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    watchers: list[Progress] = field(default_factory=list[Progress])
    message: str = "waits for its turn"
    done_bytes: int = 0
    total_bytes: int = 0

    def moved(self, done_bytes: int) -> None:
        self.done_bytes = min(done_bytes, self.total_bytes)
        self.say(f"fetching, {_mib(self.done_bytes)} of {_mib(self.total_bytes)} MiB")

    def say(self, message: str) -> None:
        self.message = message
        for watcher in self.watchers:
            watcher(message)


class Artifacts:
    """What the launcher can unpack lies in <state_dir>/images/blobs/sha256, the manifest of an image last.

    `installed` and `remove` ask the launcher (Sandbox.images, Sandbox.remove_image); `wanted` gives the references
    that desired jobs name: their images are never forgotten. `machine` is uname's word. Raises StorageError.
    """

    name = "images"

    def __init__(
        self,
        config: ImagesConfig,
        state_dir: Path,
        clock: Clock,
        *,
        installed: Callable[[], Awaitable[tuple[ImageState, ...]]],
        remove: Callable[[str], Awaitable[None]],
        wanted: Callable[[], frozenset[str]],
        machine: str = os.uname().machine,
        sweep_seconds: float = 60.0,
    ) -> None:
        self._config, self._clock, self._machine = config, clock, machine
        self._installed, self._remove, self._wanted = installed, remove, wanted
        self._sweep_seconds = sweep_seconds
        images = state_dir / "images"
        self._places = images / "fetching"
        self._blobs = Blobs(images)
        self._skopeo = Skopeo(config, images / "skopeo", machine)
        self._uploads = Uploads(images / "uploads", self._blobs, machine, config.max_image_bytes)
        try:
            self._blobs.prepare()
            self._skopeo.prepare()
            self._uploads.prepare()
            self._places.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}") from error
        self._flights: dict[str, _Flight] = {}
        self._lanes = asyncio.Semaphore(_AT_ONCE)
        self._lies: dict[str, int] = {}

    def configure(self, config: ImagesConfig) -> None:
        """How much is kept, from the next look on; where else is looked for an image. The rest is of the start."""
        self._config = config

    # --- fetching --------------------------------------------------------------------------------

    async def fetch(self, reference: str, progress: Progress) -> str:
        """The digest of this machine's manifest, "sha256:HEX", once the launcher has it or can unpack it.

        Raises RefusedError for what is wrong for ever (no digest, other content than pinned, too big, another
        platform), AwayError and StorageError for what may pass: what was fetched so far is kept for the next try.
        """
        wanted = parse(reference)
        flight = self._flights.setdefault(wanted.hex, _Flight(wanted.digest))
        flight.watchers.append(progress)
        try:
            async with flight.lock:
                return await self._here(wanted) or await self._fetched(wanted, flight)
        finally:
            flight.watchers.remove(progress)
            if not flight.watchers:
                del self._flights[wanted.hex]

    async def _here(self, wanted: Reference) -> str:
        """The digest when nothing has to be moved; else ""."""
        digest = self._blobs.resolved(wanted.hex) or wanted.digest
        whole = self._blobs.image(digest) is not None
        if not whole and not any(
            s.image == digest and s.state in {"ready", "unpacking"} for s in await self._installed()
        ):
            return ""
        self._remember(wanted, digest)
        return digest

    def _remember(self, wanted: Reference, digest: str) -> None:
        for hexes in {wanted.hex, digest.removeprefix("sha256:")}:
            if self._blobs.resolved(hexes) != digest:
                self._blobs.resolve(hexes, digest)

    async def _fetched(self, wanted: Reference, flight: _Flight) -> str:
        async with self._lanes:
            for source in self._sources(wanted):
                try:
                    found = await look(source, wanted.digest, self._machine, self._config.max_image_bytes)
                    if found is not None:
                        return await self._brought(source, found, wanted, flight)
                except (CorruptError, FileNotFoundError) as error:
                    self._lied(source, wanted, error)
        raise AwayError(
            f"image {wanted.digest} is not on this box: push it (edgectl image push), or name its registry"
            " (REGISTRY/NAME@sha256:...)"
        )

    def _sources(self, wanted: Reference) -> tuple[Source, ...]:
        layouts = [Layout(directory, self._blobs) for directory in self._config.layouts]
        if not wanted.name:
            return tuple(layouts)
        return *layouts, Registry(wanted, self._skopeo, self._blobs, self._places / wanted.hex)

    async def _brought(self, source: Source, found: Found, wanted: Reference, flight: _Flight) -> str:
        missing = sum(blob.size_bytes for blob in found.manifest.blobs if not self._blobs.has(blob))
        self._blobs.check_room(missing)
        flight.total_bytes = found.manifest.total_bytes
        flight.moved(0)
        started = self._clock.seconds()
        digest = await source.bring(found, flight.moved)
        self._remember(wanted, digest)
        self._lies.pop(wanted.hex, None)
        seconds = round(self._clock.seconds() - started, 1)
        log.info("image fetched", extra={"image": digest, "bytes": flight.total_bytes, "seconds": seconds})
        return digest

    def _lied(self, source: Source, wanted: Reference, error: Exception) -> None:
        """What came wasn't what was pinned.

        A layout directory: on to the next source. A registry: a broken proxy may mend, so it is tried again, but not
        for ever: each try costs the store's WAN as much as the image.
        """
        log.warning("image refused", extra={"image": wanted.digest, "reason": error})
        if isinstance(source, Layout):
            return
        lies = self._lies[wanted.hex] = self._lies.get(wanted.hex, 0) + 1
        if lies < _MOST_LIES:
            raise AwayError(str(error)) from error
        del self._lies[wanted.hex]
        raise RefusedError("BAD_REQUEST", f"{error}, {lies} times in a row") from error

    # --- pushing ---------------------------------------------------------------------------------

    async def put(self, archive_sha256: bytes, total_bytes: int, offset: int, data: bytes) -> tuple[int, str]:
        """(bytes that have arrived, the image's digest once all has arrived and was checked, else "").

        Ask again with no data until the digest comes. Raises RefusedError, StorageError.
        """
        if digest := self._blobs.resolved(archive_sha256.hex()):
            there = self._blobs.image(digest) is not None
            if there or any(state.image == digest and state.state == "ready" for state in await self._installed()):
                return total_bytes, digest
        return await self._uploads.put(archive_sha256, total_bytes, offset, data), ""

    # --- showing ---------------------------------------------------------------------------------

    async def views(self) -> tuple[ImageView, ...]:
        """By digest. While the launcher is away, only what is on the agent's side."""
        views: dict[str, ImageView] = {}
        for digest in self._blobs.digests():
            if manifest := self._blobs.image(digest):
                size, used = manifest.total_bytes, self._blobs.used_unix_nano(digest)
                views[digest] = ImageView(digest, "fetched", "", size, size, size, used)
        for flight in self._flights.values():
            if flight.digest not in views:
                views[flight.digest] = ImageView(
                    flight.digest, "fetching", flight.message, flight.done_bytes, flight.total_bytes
                )
        with contextlib.suppress(AwayError, RefusedError):
            for state in await self._installed():
                if state.state != "absent":
                    views[state.image] = ImageView(
                        state.image, state.state, state.message, state.done_bytes, state.total_bytes,
                        state.disk_bytes, state.last_used_unix_nano,
                    )  # fmt: skip
        return tuple(views[digest] for digest in sorted(views))

    # --- forgetting ------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._uploads.run(), name="images.uploads"),
                group.create_task(self._sweeps(stop), name="images.sweeps"),
            ]
            while not stop.is_set():
                beat()
                await pause(stop, _PULSE_SECONDS)
            for task in tasks:
                task.cancel()

    async def _sweeps(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.sweep()
            except EdgeError as error:
                log.warning("images not swept", extra={"reason": error})
            await pause(stop, self._sweep_seconds)

    async def sweep(self) -> None:
        """Forget what isn't needed: fetched blobs of what is unpacked, the longest unused images over the limit.

        Raises AwayError when the launcher can't be asked; then nothing is forgotten.
        """
        installed = {state.image: state for state in await self._installed() if state.state != "absent"}
        wanted = self._wanted_digests()
        for digest in self._blobs.digests():
            if digest in installed and installed[digest].state == "ready":
                self._blobs.drop(digest)
        for digest in keep.forget(self._kept(installed, wanted), self._config.limit_bytes):
            self._blobs.drop(digest)
            try:
                if digest in installed:
                    await self._remove(digest)
                    del installed[digest]
            except RefusedError as error:  # a run that is being stopped still uses it
                log.info("image not forgotten yet", extra={"image": digest, "reason": error})
            else:
                log.info("image forgotten", extra={"image": digest})
        self._tidy(installed, wanted)

    def _wanted_digests(self) -> frozenset[str]:
        digests: set[str] = set()
        for reference in self._wanted():
            with contextlib.suppress(RefusedError):  # "host", or one that is refused when it is fetched
                wanted = parse(reference)
                digests |= {wanted.digest, self._blobs.resolved(wanted.hex) or wanted.digest}
        return frozenset(digests)

    def _kept(self, installed: dict[str, ImageState], wanted: frozenset[str]) -> list[keep.Kept]:
        found: list[keep.Kept] = []
        for digest in {*installed, *self._blobs.digests()}:
            state, fetched = installed.get(digest), self._blobs.image(digest)
            size = (state.disk_bytes if state else 0) + (fetched.total_bytes if fetched else 0)
            used = max(state.last_used_unix_nano if state else 0, self._blobs.used_unix_nano(digest))
            found.append(keep.Kept(digest, size, used, digest in wanted))
        return found

    def _tidy(self, installed: dict[str, ImageState], wanted: frozenset[str]) -> None:
        """Names that stand for nothing any more, and the remains of fetches that nobody asks for."""
        for hexes, digest in self._blobs.resolutions().items():
            if digest not in installed and digest not in wanted and self._blobs.image(digest) is None:
                self._blobs.forget(hexes)
        for place in self._places.iterdir():
            if place.name not in self._flights and f"sha256:{place.name}" not in wanted:
                shutil.rmtree(place, ignore_errors=True)
        self._uploads.forget_older(self._clock.wall_nano() / 1e9 - _UPLOAD_SECONDS)
        if not self._flights and not self._uploads.busy:
            self._blobs.sweep(self._blobs.digests())


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f}"
