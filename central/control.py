"""Control: the session that a node dials, and the renewal of its certificate."""

# ruff: noqa: N802 - the methods' names are the wire's

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc

from central.audit import Trail
from central.authority import Authority, Issued, der, moment
from central.csr import public_key
from central.names import NodeName
from central.peer import Peer, address, identify, public_key_der
from central.refusal import abort, answerable, check, refused
from central.session import Sessions, read_hello
from central.store import nodes
from central.store.database import Database
from central.store.nodes import NodeRow
from storeedge.v1.control_pb2 import AgentFrame, RenewRequest, RenewResponse
from storeedge.v1.control_pb2_grpc import ControlServicer

log = logging.getLogger("central.control")

# Comings and goings, where nobody was refused; and what could not be written down anyway.
_UNAUDITED = frozenset({"SUPERSEDED", "HEARTBEAT_LOST", "DRAINING", "STORAGE"})

Context = grpc.aio.ServicerContext[Any, Any]


class Control(ControlServicer):
    def __init__(
        self,
        database: Database,
        authority: Authority,
        sessions: Sessions,
        trail: Trail,
        wall_nano: Callable[[], int],
    ) -> None:
        self._database = database
        self._authority = authority
        self._sessions = sessions
        self._trail = trail
        self._wall_nano = wall_nano

    async def Renew(self, request: RenewRequest, context: Context) -> RenewResponse:
        actor = address(context)
        try:
            peer = identify(context.auth_context(), self._authority.domain)
            actor = peer.id
            node = await self._admit(peer)
            issued = self._certify(peer, node.name, request)
            await self._database.run(
                lambda db: nodes.add_certificate(db, node.id, issued.serial, issued.not_after_unix_nano)
            )
            await self._trail.note(actor, "renew", str(node.name), detail=f"serial {issued.serial}")
        except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the caller gets a reason
            await self._refuse(context, actor, "renew", error)
        return RenewResponse(chain_der=issued.chain_der, bundle_der=[der(self._authority.root)])

    def _certify(self, peer: Peer, name: NodeName, request: RenewRequest) -> Issued:
        check(request)
        key = public_key(request.csr_der, peer.id)
        if public_key_der(key) == peer.public_key_der:
            raise refused("CSR_INVALID", "csr_der: renewal takes a new key")
        return self._authority.issue_node(name, key, moment(self._wall_nano()))

    # The stub's type knows iterators only; grpc.aio also takes a coroutine that reads and writes through the context.
    async def Session(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[AgentFrame],  # noqa: ARG002 - read through the context
        context: Context,
    ) -> None:
        actor = address(context)
        try:
            peer = identify(context.auth_context(), self._authority.domain)
            actor = peer.id
            node = await self._admit(peer)
            hello = await read_hello(context)
            await self._sessions.serve(peer, node, hello, context)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the caller gets a reason
            await self._refuse(context, actor, "session", error)

    async def _admit(self, peer: Peer) -> NodeRow:
        """The node that calls. Raises RefusedError."""
        name = peer.name
        if not isinstance(name, NodeName):
            raise refused("PERMISSION_DENIED", f"{peer.id} is not a node")

        def look(db: sqlite3.Connection) -> tuple[NodeRow | None, bool]:
            node = nodes.find(db, name)
            return node, node is not None and nodes.holds(db, node.id, peer.serial)

        node, holds = await self._database.run(look)
        if node is None or not node.enrolled:
            raise refused("NODE_NOT_ENROLLED", f"{name} is not enrolled here")
        if not holds:
            raise refused("CERTIFICATE_REVOKED", f"certificate {peer.serial} of {name} does not count any more")
        return node

    async def _refuse(self, context: Context, actor: str, action: str, error: Exception) -> NoReturn:
        """Write the refusal down, then say it."""
        refusal = answerable(error)
        if refusal.reason not in _UNAUDITED:
            await self._trail.refusal(actor, action, "", refusal.reason, f"{refusal}; from {address(context)}")
        await abort(context, refusal)
