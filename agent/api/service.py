"""AgentService once, whatever door a call came through: role, request, answer, audit."""

import re
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from agent.api.methods import CENTRAL, LOCAL, METHODS, OPERATOR, Sources
from agent.errors import EdgeError, RefusedError
from agent.model import AuditEntry, Sink

_OPERATOR = re.compile(r"spiffe://([^/]+)/operator/[^/]+")
_CENTRAL = re.compile(r"spiffe://([^/]+)/central")


class AgentApi:
    """`answer` is what the tunnel calls; doors.py puts it behind gRPC."""

    def __init__(self, sources: Sources, *, trust_domain: str, record: Sink) -> None:
        self._sources, self._trust_domain, self._record = sources, trust_domain, record

    async def answer(self, method: str, payload: bytes, principal: str) -> AsyncIterator[bytes]:
        """Serialised replies. Raises RefusedError with a reason of agent.errors.REASONS, or another EdgeError."""
        outcome, detail = "ok", ""
        try:
            async for reply in self._replies(method, payload, principal):
                yield reply
        except RefusedError as error:
            outcome, detail = error.reason, str(error)
            raise
        except EdgeError as error:
            outcome, detail = "AWAY", str(error)
            raise
        finally:
            await self._record([AuditEntry(principal[:256], f"call.{method[:58]}", "", outcome, detail)])

    async def _replies(self, method: str, payload: bytes, principal: str) -> AsyncIterator[bytes]:
        entry = METHODS.get(method)
        if entry is None:
            raise RefusedError("UNIMPLEMENTED", f"no method {method!r}; there are {', '.join(METHODS)}")
        role = self._role(principal)
        if role not in entry.roles:
            raise RefusedError("PERMISSION_DENIED", f"{principal} may not call {method}")
        try:
            request = entry.request.FromString(payload)
        except DecodeError as error:
            raise RefusedError("BAD_REQUEST", f"payload is no {entry.request.DESCRIPTOR.full_name}") from error
        async for reply in entry.handler(self._sources, request):
            yield reply.SerializeToString()

    def _role(self, principal: str) -> str:
        if principal.startswith("local:"):
            return LOCAL
        for pattern, role in ((_OPERATOR, OPERATOR), (_CENTRAL, CENTRAL)):
            if (match := pattern.fullmatch(principal)) and match[1] == self._trust_domain:
                return role
        return ""
