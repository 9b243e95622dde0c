"""A real central as a process, and the agent's side of the wire written by hand: what PROTOCOL.md says, no more."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from storeedge.v1 import control_pb2 as wire
from storeedge.v1.control_pb2_grpc import ControlStub
from storeedge.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from storeedge.v1.enrolment_pb2_grpc import EnrolmentStub
from storeedge.v1.record_pb2 import DeviceMessage, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE, Lane

DOMAIN = "shop.example"
EPOCH = "epoch-1"
BOOT = "0f3c1a52-8d0a-4f6e-9d5e-5c5c0d3a7b11"


@dataclass
class Central:
    directory: Path
    process: "subprocess.Popen[str] | None" = None
    control: str = ""
    enrol: str = ""
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.directory / "central.log"

    def start(self, listen: str = "127.0.0.1:0", enrol: str = "127.0.0.1:0", *options: str) -> None:
        command = [sys.executable, "-m", "central", "--dir", str(self.directory), "--listen", listen]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--enrol-listen", enrol, *options], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("central: ready "), f"{line}{self.log.read_text()}"
        self.control, self.enrol = (word.partition("=")[2] for word in line.split()[2:4])

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        assert self.process.stdout is not None
        with self.process.stdout:
            return self.process.wait(timeout=5)

    def edgectl(self, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "central.cli", "--dir", str(self.directory), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def ask(self, *words: str) -> Any:
        return json.loads(self.edgectl("--json", *words).stdout)

    def audit(self, action: str) -> list[dict[str, Any]]:
        return [entry for entry in self.ask("audit")["audit"] if entry["action"] == action]

    def token(self, store: str = "s1", node: str = "n1") -> dict[str, str]:
        text = self.edgectl("token", "create", "--store", store, "--node", node, "--ttl", "1h").stdout.strip()
        raw = text.removeprefix("set1.")
        return json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))


@contextmanager
def central(directory: Path, *options: str) -> Iterator[Central]:
    found = Central(directory)
    found.edgectl("init", "--trust-domain", DOMAIN)
    found.start("127.0.0.1:0", "127.0.0.1:0", *options)
    try:
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.stop(signal.SIGKILL)


def reason(error: grpc.aio.AioRpcError) -> str:
    """ErrorInfo.reason of a refusal."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            status, info = Status.FromString(value), ErrorInfo()
            assert status.code == error.code().value[0]
            assert status.details[0].Unpack(info)
            assert info.domain == "storeedge"
            return info.reason
    return ""


class Box:
    """A box that becomes a node."""

    def __init__(self, town: Central, node: str = "n1") -> None:
        self.town = town
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = f"spiffe://{DOMAIN}/store/s1/node/{node}"
        self.chain_pem = b""
        self.root_pem = (town.directory / "operator" / "root.crt").read_bytes()

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def csr(self, key: ec.EllipticCurvePrivateKey | None = None, uri: str = "") -> bytes:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri or self.id)])
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, False)
        return request.sign(key or self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    async def enrol(self, token: dict[str, str], csr: bytes = b"") -> EnrolResponse:
        """Raises AioRpcError."""
        credentials = grpc.ssl_channel_credentials(self.root_pem)
        async with grpc.aio.secure_channel(self.town.enrol, credentials, self.options()) as channel:
            answer = await EnrolmentStub(channel).Enrol(
                EnrolRequest(token_id=token["i"], token_secret=token["s"], csr_der=csr or self.csr(), hardware="test"),
                timeout=10,
            )
        self.take(list(answer.chain_der))
        return answer

    def take(self, chain_der: list[bytes]) -> None:
        self.chain_pem = b"".join(
            x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in chain_der
        )

    def options(self) -> list[tuple[str, Any]]:
        return [("grpc.ssl_target_name_override", f"central.{DOMAIN}"), ("grpc.enable_retries", 0)]

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Any]:
        credentials = grpc.ssl_channel_credentials(self.root_pem, self.key_pem(), self.chain_pem)
        async with grpc.aio.secure_channel(self.town.control, credentials, self.options()) as channel:
            yield ControlStub(channel)


def hello(lane: Lane, epoch: str = EPOCH, revision: int = 0) -> wire.AgentFrame:
    return wire.AgentFrame(
        hello=wire.Hello(lane=lane, boot_id=BOOT, agent_version="0", spool_epoch=epoch, desired_revision=revision)
    )


async def open_lane(stub: Any, lane: Lane, epoch: str = EPOCH, revision: int = 0) -> tuple[Any, wire.Welcome]:
    call = stub.Session()
    await call.write(hello(lane, epoch, revision))
    frame = await call.read()
    assert frame is not grpc.aio.EOF, f"{await call.code()} {await call.details()}"
    return call, frame.welcome


async def ended(call: Any) -> tuple[grpc.StatusCode, str]:
    """How central ended a session: code and reason."""
    try:
        while (await call.read()) is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), reason(error)
    return await call.code(), ""


def messages(first: int, count: int, text: str = "m") -> wire.AgentFrame:
    """A batch of device messages numbered first..first+count-1, the number in the payload."""
    return wire.AgentFrame(
        batch=wire.Batch(
            record_class=RECORD_CLASS_DEVICE,
            first_seq=first,
            records=[
                Record(
                    time_unix_nano=seq,
                    boot_id=BOOT,
                    device=DeviceMessage(device="d1", topic="devices/d1/t", payload=f"{text}{seq}".encode()),
                )
                for seq in range(first, first + count)
            ],
        )
    )


async def ack(call: Any) -> int:
    frame = await call.read()
    assert frame.WhichOneof("frame") == "ack"
    return int(frame.ack.seq)
