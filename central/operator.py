"""Operator: what people ask of central. Only operators' certificates; each call is written down."""

# ruff: noqa: N802 - the methods' names are the wire's

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from central import desired, operations, usage
from central.audit import Trail
from central.authority import Authority
from central.lane import Register
from central.names import NodeName, OperatorName, node_id
from central.peer import Peer, address, identify
from central.refusal import abort, answerable, check, refused
from central.seals import Trusted
from central.session import desired_frame
from central.store import nodes, records, tokens
from central.store.database import Database
from central.store.nodes import NodeRow
from central.token import Token, encode, new_secret, secret_hash
from storeedge.v1 import operator_pb2 as wire
from storeedge.v1.agent_pb2 import PutImageRequest
from storeedge.v1.operator_pb2_grpc import OperatorServicer
from storeedge.v1.types_pb2 import NodeRef, Position, RecordClass

Context = grpc.aio.ServicerContext[Any, Any]

_SECOND = 1_000_000_000


class Operator(OperatorServicer):
    def __init__(
        self,
        database: Database,
        reader: Database,
        authority: Authority,
        register: Register,
        trail: Trail,
        wall_nano: Callable[[], int],
    ) -> None:
        """`reader` answers questions, so that a long one doesn't hold up what nodes send."""
        self._database = database
        self._reader = reader
        self._authority = authority
        self._trusted = Trusted(authority.root, [authority.issuing.certificate])
        self._register = register
        self._trail = trail
        self._wall_nano = wall_nano

    async def CreateToken(self, request: wire.CreateTokenRequest, context: Context) -> wire.CreateTokenResponse:
        async with self._audited(context, "CreateToken", request, [request.node]):
            node = NodeName(request.node.store, request.node.node)
            made = Token(
                id=secrets.token_hex(8),
                secret=new_secret(secrets.token_bytes(32)),
                fingerprint=self._authority.fingerprint,
                node=node,
                domain=self._authority.domain,
            )
            expires = self._wall_nano() + request.ttl_seconds * _SECOND

            def keep(db: sqlite3.Connection) -> None:
                tokens.add(db, made.id, nodes.invite(db, node), secret_hash(made.secret), expires)

            await self._database.run(keep)
        return wire.CreateTokenResponse(token=encode(made), expires_unix_nano=expires)

    async def ListNodes(self, request: wire.ListNodesRequest, context: Context) -> wire.ListNodesResponse:
        async with self._audited(context, "ListNodes", request, []):

            def look(db: sqlite3.Connection) -> list[tuple[NodeRow, dict[RecordClass, int]]]:
                return [(node, records.newest_positions(db, node.id)) for node in nodes.everyone(db)]

            found = await self._reader.run(look)
        return wire.ListNodesResponse(nodes=[self._node(node, positions) for node, positions in found])

    async def Apply(self, request: wire.ApplyRequest, context: Context) -> wire.ApplyResponse:
        async with self._audited(context, "Apply", request, request.nodes):
            desired.check(request.desired)
            applied = await self._database.run(partial(desired.apply, request=request))
            for node, revision, changed in applied:
                lane = self._register.control(node.id)
                if changed and lane is not None:
                    lane.wish(desired_frame(revision, request.desired.SerializeToString(deterministic=True)))
        return wire.ApplyResponse(
            applied=[
                wire.AppliedRevision(node=_ref(node.name), revision=revision, changed=changed)
                for node, revision, changed in applied
            ]
        )

    async def ListNodeJobs(self, request: wire.ListNodeJobsRequest, context: Context) -> wire.ListNodeJobsResponse:
        async with self._audited(context, "ListNodeJobs", request, [request.node]):
            jobs = await self._reader.run(partial(operations.jobs, request=request))
        return wire.ListNodeJobsResponse(jobs=jobs)

    async def QueryMetrics(self, request: wire.QueryMetricsRequest, context: Context) -> wire.QueryMetricsResponse:
        async with self._audited(context, "QueryMetrics", request, [request.node]):
            return await self._reader.run(partial(operations.query_metrics, request=request))

    async def QueryUsage(self, request: wire.QueryUsageRequest, context: Context) -> wire.QueryUsageResponse:
        about = [request.node] if request.HasField("node") else []
        async with self._audited(context, "QueryUsage", request, about):
            domain = self._authority.domain
            found = await self._reader.run(partial(usage.query, request=request, trusted=self._trusted, domain=domain))
        return wire.QueryUsageResponse(usage=found)

    async def QueryRecords(self, request: wire.QueryRecordsRequest, context: Context) -> wire.QueryRecordsResponse:
        about = [request.node] if request.HasField("node") else []
        async with self._audited(context, "QueryRecords", request, about):
            found = await self._reader.run(partial(operations.query_records, request=request))
        return wire.QueryRecordsResponse(records=found)

    async def CallNode(self, request: wire.CallNodeRequest, context: Context) -> AsyncIterator[wire.CallNodeResponse]:
        action, quiet = f"call.{request.method}", _is_later_piece(request)
        async with self._audited(context, action, request, [request.node], quiet=quiet) as principal:
            node = await self._reader.run(partial(operations.require, ref=request.node))
            lane = self._register.control(node.id)
            if lane is None:
                raise refused("NODE_AWAY", f"{node.name} is not connected")
            replies = lane.calls.call(request.method, request.payload, request.deadline_milli, principal)
            async with aclosing(replies):
                async for payload in replies:
                    yield wire.CallNodeResponse(payload=payload)

    @asynccontextmanager
    async def _audited(
        self, context: Context, action: str, request: Message, about: Iterable[NodeRef], *, quiet: bool = False
    ) -> AsyncGenerator[str]:
        """The operator's SPIFFE id; its end is written down (`quiet`: unless it is well), a refusal is answered."""
        actor, target = address(context), ", ".join(f"{ref.store}/{ref.node}" for ref in about)
        try:
            peer = identify(context.auth_context(), self._authority.domain)
            actor = peer.id
            _require_operator(peer)
            check(request)
            yield actor
            if not quiet:
                await self._trail.note(actor, action, target)
        except (asyncio.CancelledError, GeneratorExit):  # the latter: it left between two replies
            await self._trail.note(actor, action, target, "CANCELLED", "the caller left")
            raise
        except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the caller gets a reason
            refusal = answerable(error)
            if refusal.reason != "STORAGE":
                await self._trail.note(actor, action, target, refusal.reason, str(refusal))
            await abort(context, refusal)

    def _node(self, row: NodeRow, positions: dict[RecordClass, int]) -> wire.Node:
        lane = self._register.control(row.id)
        return wire.Node(
            ref=_ref(row.name),
            spiffe_id=node_id(self._authority.domain, row.name),
            connected=lane is not None,
            enrolled_unix_nano=row.enrolled,
            last_seen_unix_nano=lane.last_seen if lane else row.last_seen,
            agent_version=row.agent_version,
            desired_revision=row.desired_revision,
            applied_revision=lane.applied_revision if lane else row.applied_revision,
            certificate_not_after_unix_nano=row.certificate_not_after,
            stored=[Position(record_class=c, seq=s) for c, s in sorted(positions.items())],
            spool_records=lane.spool_records if lane else 0,
            sealing_key_der=row.sealing_key,
        )


def _is_later_piece(request: wire.CallNodeRequest) -> bool:
    """An image comes in thousands of calls and is one deed: its first piece is written down here, its end there."""
    if request.method != "PutImage":
        return False
    try:
        piece = PutImageRequest.FromString(request.payload)
    except DecodeError:
        return False
    return piece.offset > 0 or not piece.data


def _require_operator(peer: Peer) -> None:
    """Raises RefusedError(PERMISSION_DENIED)."""
    if not isinstance(peer.name, OperatorName):
        raise refused("PERMISSION_DENIED", f"{peer.id} is not an operator")


def _ref(name: NodeName) -> NodeRef:
    return NodeRef(store=name.store, node=name.node)
