"""Enrolment: a one-time token and a certificate request become a node."""

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from central import names, token
from central.audit import Trail
from central.authority import Authority, der, moment
from central.csr import public_key
from central.names import NodeName
from central.peer import address, check_tls, public_key_der
from central.refusal import abort, answerable, check, refused
from central.store import nodes, tokens
from central.store.database import Database
from storeedge.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from storeedge.v1.enrolment_pb2_grpc import EnrolmentServicer


@dataclass(frozen=True, slots=True)
class _Answer:
    node: NodeName
    leaf: bytes
    again: bool  # the same answer as before, to a box that lost it


class Enrolment(EnrolmentServicer):
    def __init__(
        self,
        database: Database,
        authority: Authority,
        trail: Trail,
        wall_nano: Callable[[], int],
        control_address: str,
    ) -> None:
        self._database = database
        self._authority = authority
        self._trail = trail
        self._wall_nano = wall_nano
        self._control_address = control_address

    async def Enrol(  # noqa: N802 - the wire's name
        self, request: EnrolRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> EnrolResponse:
        actor = address(context)
        try:
            check_tls(context.auth_context())
            check(request)
            answer = await self._database.run(lambda db: self._redeem(db, request))
            await self._trail.note(
                actor, "enrol", str(answer.node), detail=f"token {request.token_id}{', again' if answer.again else ''}"
            )
        except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the caller gets a reason
            refusal = answerable(error)
            if refusal.reason != "STORAGE":
                await self._trail.refusal(actor, "enrol", f"token {request.token_id}", refusal.reason, str(refusal))
            await abort(context, refusal)
        domain = self._authority.domain
        return EnrolResponse(
            chain_der=[answer.leaf, der(self._authority.issuing.certificate)],
            bundle_der=[der(self._authority.root)],
            spiffe_id=names.node_id(domain, answer.node),
            control_address=self._control_address,
            central_spiffe_id=names.central_id(domain),
            server_time_unix_nano=self._wall_nano(),
        )

    def _redeem(self, db: sqlite3.Connection, request: EnrolRequest) -> _Answer:
        """Trade the token, in one transaction. Raises RefusedError; the token is then as good as before."""
        now = self._wall_nano()
        found = tokens.find(db, request.token_id, token.secret_hash(request.token_secret))
        if found is None:
            raise refused("TOKEN_UNKNOWN", "no such token, or a forged one")
        if not found.used and now > found.expires:
            raise refused("TOKEN_EXPIRED", f"this token for {found.node} expired at {moment(found.expires):%F %T} UTC")
        key = public_key(request.csr_der, names.node_id(self._authority.domain, found.node))
        key_hash = hashlib.sha256(public_key_der(key)).digest()
        if found.used:
            if found.leaf is None or found.key_hash != key_hash or now > found.used + tokens.REPEAT_NANO:
                raise refused("TOKEN_USED", f"this token for {found.node} was used at {moment(found.used):%F %T} UTC")
            return _Answer(found.node, found.leaf, again=True)
        issued = self._authority.issue_node(found.node, key, moment(now))
        nodes.enrol(db, found.node_id, request.hardware, now)
        nodes.add_certificate(db, found.node_id, issued.serial, issued.not_after_unix_nano)
        tokens.use(db, request.token_id, now, key_hash, issued.chain_der[0])
        return _Answer(found.node, issued.chain_der[0], again=False)
