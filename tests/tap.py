"""A tap on the uplink: TLS ends here and begins again, with the keys of central and of the node; plain bytes are kept.

No key log: gRPC's TLS has no hook for one. Who holds both private keys needs none.
"""

import asyncio
import base64
import re
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from central.authority import Authority, key_pem, moment, pem
from central.home import Home

# RFC 7541, appendix B: the characters that HPACK's Huffman code writes in five bits, in the order of their codes. Marks
# are made of these, so that one is found in compressed headers too: as its bits.
ALPHABET = "012aceiost"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_PADDED, _PRIORITY = 0x8, 0x20


class Tap:
    """Between a node and central: `up` and `down` are the bytes of each connection, in the clear."""

    def __init__(self, central_dir: Path, node_identity: Path, control_port: int) -> None:
        """`central_dir` as of edgectl init, `node_identity` the directory of the certificate in force."""
        self.up: list[bytearray] = []
        self.down: list[bytearray] = []
        self._control_port = control_port
        self._node = node_identity
        self._near = self._as_central(Home(central_dir), node_identity.parent)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="tap", daemon=True)
        self._thread.start()
        ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @staticmethod
    def _as_central(home: Home, scratch: Path) -> ssl.SSLContext:
        issuer = Authority.load(home.root.read_bytes(), home.issuing.read_bytes(), home.issuing_key.read_bytes())
        pair = issuer.issue_server(moment(time.time_ns()))
        chain = pem(pair.certificate, issuer.issuing.certificate, issuer.root)
        file = home.directory / "tap.pem"
        file.write_bytes(key_pem(pair.key) + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.load_verify_locations(home.root)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["h2"])
        return context

    def _as_node(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_cert_chain(self._node / "chain.pem", self._node / "key.pem")
        context.load_verify_locations(self._node / "bundle.pem")
        context.set_alpn_protocols(["h2"])
        return context

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._near))
        self.port: int = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _relay(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        up, down = bytearray(), bytearray()
        self.up.append(up)
        self.down.append(down)
        try:
            far_in, far_out = await asyncio.open_connection("127.0.0.1", self._control_port, ssl=self._as_node())
        except OSError:
            near_out.transport.abort()
            return
        pumps = [
            asyncio.ensure_future(_pump(near_in, far_out, up)),
            asyncio.ensure_future(_pump(far_in, near_out, down)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for end in (near_out, far_out):
                end.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray) -> None:
    try:
        while data := await source.read(1 << 16):
            kept += data
            sink.write(data)
            await sink.drain()
    except OSError:
        pass


# --- what is in it -------------------------------------------------------------------------------


def messages(connection: bytes) -> Iterator[bytes]:
    """The gRPC messages of one direction, and the header blocks, each in one piece. Compressed ones are an error."""
    streams: dict[int, bytearray] = {}
    for kind, stream, payload in _frames(connection):
        if kind == _DATA:
            whole = streams.setdefault(stream, bytearray())
            whole += payload
            while len(whole) >= 5 and len(whole) >= 5 + int.from_bytes(whole[1:5], "big"):
                size = int.from_bytes(whole[1:5], "big")
                assert whole[0] == 0, "a compressed gRPC message"
                yield bytes(whole[5 : 5 + size])
                del whole[: 5 + size]
        else:
            yield payload
    yield from map(bytes, streams.values())  # what a cut left unfinished


def _frames(connection: bytes) -> Iterator[tuple[int, int, bytes]]:
    """HTTP/2 frames with content (RFC 9113, 4.1), without padding."""
    at = len(_PREFACE) if connection.startswith(_PREFACE) else 0
    while at + 9 <= len(connection):
        size = int.from_bytes(connection[at : at + 3], "big")
        kind, flags = connection[at + 3], connection[at + 4]
        stream = int.from_bytes(connection[at + 5 : at + 9], "big")
        payload = connection[at + 9 : at + 9 + size]
        at += 9 + size
        if kind in {_DATA, _HEADERS} and flags & _PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if kind == _HEADERS and flags & _PRIORITY:
            payload = payload[5:]
        if kind in {_DATA, _HEADERS, _CONTINUATION}:
            yield kind, stream, payload


def traces(data: bytes, mark: str) -> list[str]:
    """In which forms `mark` is in `data`. It is made of ALPHABET."""
    plain = mark.encode()
    found = [name for name, form in _forms(plain) if form in data]
    code = "".join(f"{ALPHABET.index(character):05b}" for character in mark)
    if len(data) < 1 << 16 and code in f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}":
        found.append("huffman")
    for start in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data):
        unpacked = _unpacked(data[start.start() :])
        found += [f"packed {name}" for name, form in _forms(plain) if form in unpacked]
    return found


def _forms(plain: bytes) -> Iterator[tuple[str, bytes]]:
    yield "plain", plain
    yield "upper", plain.upper()
    yield "reversed", plain[::-1]
    yield "utf-16", plain.decode().encode("utf-16-le")
    yield "hex", plain.hex().encode()
    yield "HEX", plain.hex().upper().encode()
    for before in range(3):  # at each of the places where it may begin in a group of three; the ends are another's too
        whole = base64.b64encode(bytes(before) + plain)
        yield f"base64+{before}", whole[(0, 2, 3)[before] : -(4 if (before + len(plain)) % 3 else 0) or None]


def _unpacked(data: bytes) -> bytes:
    """What can be unpacked from here on, at most 1 MiB; empty when it is no zlib or gzip."""
    try:
        return zlib.decompressobj(wbits=47).decompress(data, 1 << 20)
    except zlib.error:
        return b""
