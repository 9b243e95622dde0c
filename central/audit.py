"""Central's own audit trail: each refusal, and each call of an operator."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from central.handshakes import Brake
from central.store import records
from central.store.database import Database
from storeedge.v1.record_pb2 import AuditEntry

log = logging.getLogger("central.audit")


def clip(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8, no character cut in two."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


class Trail:
    def __init__(self, database: Database, wall_nano: Callable[[], int]) -> None:
        self._database = database
        self._wall_nano = wall_nano
        self._brakes: dict[str, Brake] = {}

    async def refusal(self, actor: str, action: str, target: str, outcome: str, detail: str) -> None:
        """Note that somebody was refused; a flood of it is counted instead, or it would fill the disk.

        Who has proven a SPIFFE id has a brake of its own, strangers share one: they can't crowd out each other.
        Not for calls of operators: one that ended badly may have been carried out.
        """
        brake = self._brakes.setdefault(actor if actor.startswith("spiffe://") else "", Brake())
        if not brake.passes(asyncio.get_running_loop().time()):
            return
        if brake.suppressed:
            detail, brake.suppressed = f"{detail} ({brake.suppressed} more before, not written down)", 0
        await self.note(actor, action, target, outcome, detail)

    async def note(self, actor: str, action: str, target: str, outcome: str = "ok", detail: str = "") -> None:
        """Durable when it returns. Raises sqlite3.Error: then what was to be noted must not happen."""
        entry = AuditEntry(
            actor=clip(actor, 256),
            action=clip(action, 64),
            target=clip(target, 256),
            outcome=clip(outcome, 64),
            detail=clip(detail, 1024),
        )
        if outcome != "ok":
            log.warning("%s refused to %s on %s: %s, %s", actor, action, target or "-", outcome, detail)
        await self._database.run(partial(records.add_audit, entry=entry, now=self._wall_nano()))
