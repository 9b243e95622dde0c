"""HTTPS for devices that speak nothing else: a process of its own, so that what parses strangers' bytes holds nothing.

It knows no password and has no rights at the broker: each request is published as the device that sent it.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from weakref import WeakValueDictionary

import h11

from agent.clock import Clock
from agent.gateway.failures import Failures
from agent.gateway.post import MAX_BODY_BYTES, Answer, Post, read
from agent.gateway.publish import BUSY, Broker, deliver
from agent.runtime.service import pause

log = logging.getLogger(__name__)

# From the moment they are accepted: who never ends the handshake counts too.
_MAX_CONNECTIONS = 256
_MAX_OF_ONE_ADDRESS = 32
_BACKLOG = 128
_MAX_HEADER_BYTES = 16 * 1024
_REQUEST_SECONDS = 15.0  # from its first byte to its last; also a handshake, and how long a connection may idle
_GOODBYE_SECONDS = 1.0  # for the other side of TLS to say so too; the end of the process waits for it
_AT_ONCE = 8  # publishing: each has a thread and a connection to the broker for some milliseconds
_TURN_SECONDS = 10.0  # a device's posts are published one after the other
_BEAT_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class _BadError(Exception):
    """A request that ends the connection, and what is said of it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text)
        self.answer = answer


class HttpService:
    """`run` per agent.runtime.service. `broker_dir` holds server.crt and server.key, read again when they change.

    `listening` is set once the port (`port`) takes connections.
    """

    name = "http"

    def __init__(self, listen: tuple[str, int], broker: Broker, broker_dir: Path, clock: Clock) -> None:
        self._listen, self._broker, self._clock = listen, broker, clock
        self._certificate, self._key = broker_dir / "server.crt", broker_dir / "server.key"
        self._failures = Failures()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "publish")
        self._stop = threading.Event()
        self._open = Counter[str]()
        self._serving = set[asyncio.Task[None]]()
        # Of each device that posts now. At the broker its name is its client id: a second connection ends the first.
        self._turns = WeakValueDictionary[str, asyncio.Lock]()
        self.port = 0
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        seen = self._changed()
        tls.load_cert_chain(self._certificate, self._key)
        with _listener(*self._listen) as listener:
            self.port = listener.getsockname()[1]
            log.info("listening", extra={"address": self._listen[0], "port": self.port})
            async with asyncio.TaskGroup() as group:
                accepting = group.create_task(self._accept(listener, tls, group), name="http-accept")
                self.listening.set()
                while not stop.is_set():
                    beat()
                    await pause(stop, _BEAT_SECONDS)
                    if seen != (seen := self._changed()):
                        self._reload(tls)
                self._stop.set()
                for task in (accepting, *self._serving):
                    task.cancel()
        self._threads.shutdown()

    def _changed(self) -> tuple[float, ...]:
        """When the certificate and its key were written; empty while one of them is away."""
        with suppress(OSError):
            return tuple(file.stat().st_mtime for file in (self._certificate, self._key))
        return ()

    def _reload(self, tls: ssl.SSLContext) -> None:
        try:
            tls.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as why:
            log.warning(
                "certificate can't be read, the old one stays", extra={"file": self._certificate, "reason": why}
            )

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext, group: asyncio.TaskGroup) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as why:
                log.warning("no connection can be taken", extra={"reason": why})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            host = str(address[0])
            if self._open.total() >= _MAX_CONNECTIONS or self._open[host] >= _MAX_OF_ONE_ADDRESS:
                connection.close()
                continue
            self._open[host] += 1
            task = group.create_task(self._connected(host, connection, tls), name="http-connection")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _connected(self, host: str, connection: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            reader, writer = await _secured(connection, tls)
            try:
                await self._serve(host, reader, writer)
            finally:
                writer.close()
                with suppress(OSError, ssl.SSLError):
                    await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            log.debug("connection lost", extra={"address": host})
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]

    async def _serve(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        while True:
            try:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    request, body = await _request(http, reader, writer)
                if request is None:
                    return
                answer = await self._answer(host, request, body)
            except _BadError as bad:
                answer = bad.answer
            except h11.RemoteProtocolError as why:
                answer = Answer(why.error_status_hint, "this is no HTTP/1.1 request")
            await _respond(http, writer, answer)
            if {http.our_state, http.their_state} != {h11.DONE}:
                return
            http.start_next_cycle()

    async def _answer(self, host: str, request: h11.Request, body: bytes) -> Answer:
        if wait := self._failures.wait_seconds(host, self._clock.seconds()):
            return Answer(429, "too many failed attempts", retry_seconds=wait)
        post = read(request.method, request.target, list(request.headers), body)
        if not isinstance(post, Post):
            return post
        answer = await self._publish(post)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._failures.failed(host, self._clock.seconds())
            log.warning("device refused", extra={"device": post.device[:64], "address": host})
        return answer

    async def _publish(self, post: Post) -> Answer:
        turn = self._turns.setdefault(post.device, asyncio.Lock())
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await turn.acquire()
        except TimeoutError:
            return BUSY
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, deliver, self._broker, post, self._stop)
        finally:
            turn.release()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


async def _secured(connection: socket.socket, tls: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """After the handshake. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_MAX_HEADER_BYTES, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        connection,
        ssl=tls,
        ssl_handshake_timeout=_REQUEST_SECONDS,
        ssl_shutdown_timeout=_GOODBYE_SECONDS,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _request(
    http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[h11.Request | None, bytes]:
    """None when the client has nothing more to say. Raises h11.RemoteProtocolError, _BadError."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            http.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise _BadError(Answer(413, f"at most {MAX_BODY_BYTES} bytes"))
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:
            return None, b""


async def _respond(http: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    text = f"{answer.text}\n".encode() if answer.text else b""
    headers = [("content-length", str(len(text)))] if answer.status != HTTPStatus.NO_CONTENT else []
    if text:
        headers.append(("content-type", "text/plain; charset=utf-8"))
    if answer.status == HTTPStatus.UNAUTHORIZED:
        headers.append(("www-authenticate", 'Basic realm="device"'))
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("allow", "POST"))
    if answer.retry_seconds:
        headers.append(("retry-after", str(answer.retry_seconds)))
    if http.their_state is not h11.DONE:
        headers.append(("connection", "close"))
    events: list[h11.Response | h11.Data | h11.EndOfMessage] = [
        h11.Response(status_code=answer.status, headers=headers, reason=HTTPStatus(answer.status).phrase)
    ]
    if text:
        events.append(h11.Data(data=text))
    events.append(h11.EndOfMessage())
    writer.write(b"".join(http.send(event) or b"" for event in events))
    await writer.drain()
