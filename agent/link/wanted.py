"""The desired state this node has: checked, on disk, then applied. A refused one changes nothing."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from agent.errors import RefusedError
from agent.fsio import write_atomic
from agent.link import desired as wire
from agent.model import Event, Sink
from agent.spec import Desired
from storeedge.v1 import desired_pb2

log = logging.getLogger(__name__)

Apply = Callable[[Desired], Awaitable[None]]


class Wanted:
    """`check` raises RefusedError for what the services could not live with; `apply` hands it to them."""

    def __init__(self, path: Path, *, check: Callable[[Desired], None], apply: Apply, record: Sink) -> None:
        self._path, self._check, self._apply, self._record = path, check, apply, record
        self._revision = 0

    def revision(self) -> int:
        """The revision in force; 0 when there never was one."""
        return self._revision

    async def restore(self) -> None:
        """Apply what was on disk: a cold boot with the WAN down runs what was desired."""
        try:
            message = desired_pb2.Desired.FromString(self._path.read_bytes())
            desired = self._checked(message)
        except FileNotFoundError:
            return
        except (DecodeError, RefusedError) as error:
            # Written atomically by us, so a newer agent's file after a downgrade, or a dying disk. Central sends anew.
            log.error("stored desired state is unusable, waiting for central", extra={"error": error})  # noqa: TRY400  no fault of the code
            return
        await self._apply(desired)
        self._revision = desired.revision
        log.info("desired state restored", extra={"revision": desired.revision})

    async def accept(self, message: desired_pb2.Desired) -> None:
        if message.revision <= self._revision:
            return
        try:
            desired = self._checked(message)
            write_atomic(self._path, message.SerializeToString())
        except (RefusedError, OSError) as error:
            log.warning("desired state refused", extra={"revision": message.revision, "reason": error})
            attributes = {"revision": str(message.revision)}
            await self._record([Event("desired.refused", message=str(error), attributes=attributes)])
            return
        await self._apply(desired)
        self._revision = desired.revision
        log.info("desired state applied", extra={"revision": desired.revision})
        await self._record([Event("desired.applied", attributes={"revision": str(desired.revision)})])

    def _checked(self, message: desired_pb2.Desired) -> Desired:
        desired = wire.decode(message)
        self._check(desired)
        return desired
