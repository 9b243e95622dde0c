"""Two of the three doors: the store's own unix socket and the mutually authenticated port. The third is the tunnel."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2

from agent.api.methods import METHODS
from agent.api.service import AgentApi
from agent.errors import REASONS, EdgeError, RefusedError
from agent.runtime.service import pause

log = logging.getLogger(__name__)

_PREFIX = "/storeedge.v1.AgentService/"
_PULSE_SECONDS = 3.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]
Principal = Callable[[Context], str]
Status = Callable[[str, int, str], status_pb2.Status]


class _Handler(grpc.GenericRpcHandler):
    """Passes bytes through to AgentApi: the same path that the tunnel takes."""

    def __init__(self, api: AgentApi, principal: Principal, status: Status) -> None:
        self._api, self._principal, self._status = api, principal, status

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        path = handler_call_details.method
        name = path.removeprefix(_PREFIX)
        if name == path or name not in METHODS:
            return None

        async def stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
            try:
                async with aclosing(self._api.answer(name, request, self._principal(context))) as replies:
                    async for reply in replies:
                        yield reply
            except EdgeError as error:
                await self._abort(context, error)
            except Exception:
                log.exception("call failed", extra={"method": name})
                await self._abort(context, RefusedError("INTERNAL", "the agent failed; its log has the reason"))

        async def unary(request: bytes, context: Context) -> bytes:
            return b"".join([reply async for reply in stream(request, context)])

        if METHODS[name].streams:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _abort(self, context: Context, error: EdgeError) -> None:
        reason = error.reason if isinstance(error, RefusedError) else "AWAY"
        status = self._status(reason, REASONS[reason], str(error))
        metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(_CODES[status.code], str(error), metadata)


def _local(_: Context) -> str:
    return "local:socket"


def _peer(context: Context) -> str:
    auth: Any = context.auth_context()
    ids = auth.get("peer_spiffe_id", [])
    if len(ids) != 1 or auth.get("ssl_tls_version") != [b"TLSv1.3"]:
        return "unidentified peer"
    return str(ids[0].decode())


class ApiService:
    """Serves both doors until stop. The socket's mode 0660 says who on this box may come in."""

    name = "api"

    def __init__(
        self,
        api: AgentApi,
        status: Status,
        *,
        socket: Path,
        listen: str,
        credentials: grpc.ServerCredentials | None,
    ) -> None:
        self._api, self._status = api, status
        self._socket, self._listen, self._credentials = socket, listen, credentials

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        servers = [self._door(_local)]
        servers[0].add_insecure_port(f"unix:{self._socket}")
        if self._credentials is not None:
            servers.append(self._door(_peer))
            servers[1].add_secure_port(self._listen, self._credentials)
        for server in servers:
            await server.start()
        self._socket.chmod(0o660)
        log.info("listening", extra={"socket": self._socket, "port": self._listen or "none"})
        try:
            while not stop.is_set():
                beat()
                await pause(stop, _PULSE_SECONDS)
        finally:
            for server in servers:
                await server.stop(grace=1.0)

    def _door(self, principal: Principal) -> grpc.aio.Server:
        options = [("grpc.max_receive_message_length", 256 * 1024), ("grpc.so_reuseport", 0)]
        return grpc.aio.server(handlers=(_Handler(self._api, principal, self._status),), options=options)
