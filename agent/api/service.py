"""AgentService once, whatever door a call came through: role, request, answer, audit."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Sequence

from google.protobuf.message import DecodeError, Message

from agent.api.methods import CENTRAL, LOCAL, METHODS, OPERATOR, Method, Sources, targets_of
from agent.errors import EdgeError, RefusedError, StorageError
from agent.model import AuditEntry, Sink

log = logging.getLogger(__name__)

_OPERATOR = re.compile(r"spiffe://([^/]+)/operator/[^/]+")
_CENTRAL = re.compile(r"spiffe://([^/]+)/central")


class AgentApi:
    """`answer` is what doors.py puts behind gRPC; `relay` is what the tunnel calls."""

    def __init__(self, sources: Sources, *, trust_domain: str, record: Sink) -> None:
        self._sources, self._trust_domain, self._record = sources, trust_domain, record

    def relay(self, method: str, payload: bytes, principal: str) -> AsyncGenerator[bytes]:
        """`answer` for a caller whom central names: itself or an operator, never somebody at the store's own socket."""
        named = principal if principal.startswith("spiffe://") else f"central names {principal!r}"
        return self.answer(method, payload, named)

    async def answer(self, method: str, payload: bytes, principal: str) -> AsyncGenerator[bytes]:
        """Serialised replies. Raises RefusedError with a reason of agent.errors.REASONS, or another EdgeError.

        Close it: how a call ended is written down when the generator ends. What acts is written down before, too, as
        "asked"; a trail that takes nothing refuses it (StorageError). What only reads is answered all the same: a full
        disk is when people must be able to look.
        """
        targets: Sequence[str] = ("",)
        outcome, detail, worth = "ok", "", True
        try:
            entry, request = self._admit(method, payload, principal)
            targets = targets_of(request)
            if entry.acts and entry.begins(request):
                await self._write_down(principal, method, targets, "asked")
            async for reply in entry.handler(self._sources, request, principal):
                worth = entry.ends(reply)
                yield reply.SerializeToString()
        except RefusedError as error:
            outcome, detail = error.reason, str(error)
            raise
        except EdgeError as error:
            outcome, detail = "AWAY", str(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "CANCELLED"
            raise
        except BaseException:
            outcome = "INTERNAL"
            raise
        finally:
            try:
                if worth or outcome != "ok":
                    await self._write_down(principal, method, targets, outcome, detail)
            except StorageError as error:
                log.warning("call not audited", extra={"actor": principal, "method": method, "reason": error})

    async def _write_down(
        self, principal: str, method: str, targets: Sequence[str], outcome: str, detail: str = ""
    ) -> None:
        await self._record([AuditEntry(principal, f"call.{method}", each, outcome, detail) for each in targets])

    def _admit(self, method: str, payload: bytes, principal: str) -> tuple[Method, Message]:
        entry = METHODS.get(method)
        if entry is None:
            raise RefusedError("UNIMPLEMENTED", f"no method {method[:64]!r}; there are {', '.join(METHODS)}")
        role = self._role(principal)
        if role not in entry.roles:
            raise RefusedError("PERMISSION_DENIED", f"{principal[:256]} may not call {method}")
        try:
            return entry, entry.request.FromString(payload)
        except DecodeError as error:
            raise RefusedError("BAD_REQUEST", f"payload is no {entry.request.DESCRIPTOR.full_name}") from error

    def _role(self, principal: str) -> str:
        if principal.startswith("local:"):
            return LOCAL
        for pattern, role in ((_OPERATOR, OPERATOR), (_CENTRAL, CENTRAL)):
            if (match := pattern.fullmatch(principal)) and match[1] == self._trust_domain:
                return role
        return ""
