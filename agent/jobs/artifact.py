"""Images on this box: fetched once, kept while a job names them, forgotten when room is short."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.clock import Clock
from agent.config.schema import ImagesConfig
from agent.model import ImageView
from agent.sandbox import ImageState

Progress = Callable[[str], None]


class Artifacts:
    """What the launcher can unpack lies in <state_dir>/images/blobs/sha256, the manifest of an image last.

    `installed` and `remove` ask the launcher (Sandbox.images, Sandbox.remove_image); `wanted` gives the references
    that desired jobs name: their images are never forgotten.
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
    ) -> None:
        self._config, self._state_dir, self._clock = config, state_dir, clock
        self._installed, self._remove, self._wanted = installed, remove, wanted

    async def fetch(self, reference: str, progress: Progress) -> str:
        """The digest of this machine's manifest, "sha256:HEX", once the launcher has it or can unpack it."""
        raise NotImplementedError

    async def put(self, archive_sha256: bytes, total_bytes: int, offset: int, data: bytes) -> tuple[int, str]:
        """(bytes that have arrived, the image's digest once all has arrived and was checked, else "")."""
        raise NotImplementedError

    async def views(self) -> tuple[ImageView, ...]:
        raise NotImplementedError

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """A Service."""
        raise NotImplementedError
