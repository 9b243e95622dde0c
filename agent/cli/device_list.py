"""Lists of devices as CSV files, and what devices are handed as files: the same text in agent/cli and central/cli.

Neither may import the other (docs/ARCHITECTURE.md), and a test holds the two together.
"""

import base64
import binascii
import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

from storeedge.v1.agent_pb2 import (
    DeviceProtocol,
    PutDeviceRequest,
    PutDeviceResponse,
    PutDevicesRequest,
    PutDevicesResponse,
)

COLUMNS = ("id", "zone", "class", "protocol", "group", "silent_after", "credential")
RESULT = ("id", "credential", "user", "password", "certificate", "key", "not_after")
# Of one PutDevices: it fits a call to a node (128 KiB), and its reply (192 KiB) also with RSA keys of 4096 bits.
_ROWS, _BYTES = 128, 100 * 1024
_WORDS = 10
_SILENT_SECONDS = 31_536_000
_PROTOCOLS = {
    "native": DeviceProtocol.DEVICE_PROTOCOL_NATIVE,
    "sparkplug": DeviceProtocol.DEVICE_PROTOCOL_SPARKPLUG,
    "zigbee2mqtt": DeviceProtocol.DEVICE_PROTOCOL_ZIGBEE2MQTT,
}


class ListError(ValueError):
    """A file can't be read or says something that makes no sense; the text names the line."""


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    request: PutDeviceRequest


def read(path: Path) -> list[Row]:
    """Every row of the file. Raises ListError with the first ten that are wrong; then none may be used."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(reader.fieldnames or ())
            rows, flaws, seen = list[Row](), list[str](), dict[str, int]()
            for cells in reader:
                try:
                    rows.append(Row(reader.line_num, _request(cells, path.parent)))
                    _check_new(rows[-1], seen)
                except ListError as flaw:
                    flaws.append(f"line {reader.line_num}: {flaw}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ListError(f"{path}: {error}") from error
    if flaws:
        more = f"\n... and {len(flaws) - _WORDS} more" if len(flaws) > _WORDS else ""
        raise ListError("\n".join([f"{path}: nothing was done", *flaws[:_WORDS]]) + more)
    if not rows:
        raise ListError(f"{path}: no devices")
    return rows


def put(
    rows: Sequence[Row], call: Callable[[PutDevicesRequest], PutDevicesResponse], out: Path | None
) -> tuple[list[dict[str, str]], bool]:
    """A line of RESULT for each row, and whether all is in force. The node checks all of them before the first is done.

    What a batch has brought is on disk before the next is asked for: a key is handed out once.
    """
    if out is None and any(row.request.csr_der or row.request.make_key for row in rows):
        raise ListError("there will be certificates: --out DIR says where to")
    for batch in _batches(rows):
        call(PutDevicesRequest(devices=[row.request for row in batch], check=True))
    told, in_force = list[dict[str, str]](), False
    batches = list(_batches(rows))
    for number, batch in enumerate(batches, 1):
        for row in batch:
            # The broker writes its whole state for each device: it had better be told of thousands at once.
            row.request.hold = number < len(batches)
        reply = call(PutDevicesRequest(devices=[row.request for row in batch]))
        in_force = reply.in_force
        told += [
            keep(row.request.device, device, reply.ca_der, out)
            for row, device in zip(batch, reply.devices, strict=True)
        ]
    return told, in_force


def keep(device: str, reply: PutDeviceResponse, ca_der: bytes, out: Path | None) -> dict[str, str]:
    """ID.crt, ID.key (0600) and ca.crt in `out`, as far as there are any; a line of RESULT. Raises ListError."""
    line = dict.fromkeys(RESULT, "") | {"id": device, "credential": "unchanged"}
    if reply.password:
        line |= {"credential": "password", "user": device, "password": reply.password}
    if reply.certificate_der:
        ends = datetime.fromtimestamp(reply.not_after_unix_nano / 1e9, UTC)
        line |= {"credential": "certificate", "not_after": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
    if out is None:
        return line
    try:
        out.mkdir(parents=True, exist_ok=True)
        if ca_der:
            _write(out / "ca.crt", pem("CERTIFICATE", ca_der), 0o644)
        if reply.key_der:
            _write(out / f"{device}.key", pem("PRIVATE KEY", reply.key_der), 0o600)
            line["key"] = str(out / f"{device}.key")
        if reply.certificate_der:
            _write(out / f"{device}.crt", pem("CERTIFICATE", reply.certificate_der), 0o644)
            line["certificate"] = str(out / f"{device}.crt")
    except OSError as error:
        raise ListError(f"{out}: {error.strerror}") from error
    return line


def as_csv(lines: Sequence[dict[str, str]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RESULT)
    writer.writerows([line[name] for name in RESULT] for line in lines)
    return text.getvalue()


def write_result(lines: Sequence[dict[str, str]], out: Path) -> Path:
    """devices.csv in `out`, 0600: passwords are in it. Raises ListError."""
    path = out / "devices.csv"
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(path, as_csv(lines), 0o600)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from error
    return path


def pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def csr(path: Path) -> bytes:
    """A request in DER, of a file in DER or PEM. Raises ListError."""
    try:
        data = path.read_bytes()
        if not data.lstrip().startswith(b"-----BEGIN "):
            return data
        begin, *body = [line for line in data.decode().split("\n") if line.strip()]
        if "CERTIFICATE REQUEST" not in begin:
            raise ListError(f"{path} is no certificate request")
        return base64.b64decode("".join(line.strip() for line in body if not line.startswith("-----")))
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, binascii.Error) as error:
        raise ListError(f"{path} is no PEM: {error}") from error


def protocol(word: str) -> DeviceProtocol:
    """Raises ListError."""
    if word not in _PROTOCOLS:
        raise ListError(f"protocol: {word!r} is none of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[word]


def _check_header(header: Sequence[str]) -> None:
    if "id" not in header:
        raise ListError(f"line 1: a column id is missing; columns are {','.join(COLUMNS)}")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise ListError(f"line 1: {unknown[0]!r} is none of {','.join(COLUMNS)}")


def _check_new(row: Row, seen: dict[str, int]) -> None:
    if (first := seen.setdefault(row.request.device, row.line)) != row.line:
        raise ListError(f"{row.request.device} stands in line {first} already")


def _request(cells: dict[str | None, str | list[str] | None], beside: Path) -> PutDeviceRequest:
    if None in cells or None in cells.values():
        raise ListError("more or fewer cells than the header has")
    said = {str(name): str(cell).strip() for name, cell in cells.items()}
    if not said["id"]:
        raise ListError("id is empty")
    request = PutDeviceRequest(device=said["id"], keep=True)
    for column, field in (("zone", "zone"), ("class", "device_class"), ("group", "group")):
        if said.get(column):
            setattr(request, field, said[column])
    if said.get("protocol"):
        request.protocol = protocol(said["protocol"])
    if silent := said.get("silent_after"):
        if not (silent.isdecimal() and int(silent) <= _SILENT_SECONDS):
            raise ListError(f"silent_after: {silent!r} is no number of seconds up to {_SILENT_SECONDS}")
        request.silent_after_seconds = int(silent)
    _ask_for(said.get("credential", ""), request, beside)
    return request


def _ask_for(credential: str, request: PutDeviceRequest, beside: Path) -> None:
    match credential:
        case "" | "none":
            pass
        case "password":
            request.make_password = True
        case "key":
            request.make_key = True
        case file:
            request.csr_der = csr(beside / file)


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    batch, size = list[Row](), 0
    for row in rows:
        own = row.request.ByteSize() + 4
        if batch and (len(batch) == _ROWS or size + own > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += own
    yield batch


def _write(path: Path, text: str, mode: int) -> None:
    """Never through a link, never open to others before its mode is."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    beside.rename(path)
