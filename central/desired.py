"""What is desired of nodes: what may be, whether it is what was desired already, and that it is kept."""

import ipaddress
import sqlite3
from collections.abc import Iterable

from central import bounds
from central.operations import require
from central.refusal import refused
from central.store import nodes
from central.store.nodes import NodeRow
from storeedge.v1.desired_pb2 import JOB_KIND_SERVICE, Desired, Egress, JobSpec
from storeedge.v1.operator_pb2 import ApplyRequest

_SECRETS_BYTES = 32 << 10
_DIGEST_BYTES = 32
_TXT_BYTES = 400


def check(desired: Desired) -> None:
    """What the bounds of single fields can't say. Raises RefusedError(BAD_REQUEST)."""
    if desired.ByteSize() > bounds.MAX_DESIRED_BYTES:
        raise refused("BAD_REQUEST", f"desired: at most {bounds.MAX_DESIRED_BYTES} bytes, not {desired.ByteSize()}")
    tenants = {tenant.id: tenant for tenant in desired.tenants}
    _once("tenants", (tenant.id for tenant in desired.tenants))
    _once("jobs", (job.id for job in desired.jobs))
    _once("rules", (rule.filter for rule in desired.rules))
    ports: dict[tuple[int, str], str] = {}
    for job in desired.jobs:
        if job.tenant not in tenants:
            raise refused("BAD_REQUEST", f"job {job.id}: tenant {job.tenant!r} is not among the tenants")
        wrong = _job_fault(job) or _port_fault(job, ports)
        if wrong:
            raise refused("BAD_REQUEST", f"job {job.id}: {wrong}")


def _job_fault(job: JobSpec) -> str | None:
    faults = {
        "tmp_bytes is at most memory_bytes": job.limits.tmp_bytes > job.limits.memory_bytes,
        "health and update are for services": job.kind != JOB_KIND_SERVICE
        and (job.HasField("health") or job.HasField("update")),
        "health takes exactly one of command and tcp_port": job.HasField("health")
        and bool(job.health.command) == bool(job.health.tcp_port),
        "the image 'host' has no command of its own": job.image == "host" and not job.command,
        "egress takes exactly one of cidr and name": any(bool(e.cidr) == bool(e.name) for e in job.network.egress),
        "egress names the same twice": _repeats(map(_destination, job.network.egress)) is not None,
        "egress takes an IPv4 network, e.g. 192.0.2.0/24": not all(_is_network(e.cidr) for e in job.network.egress),
        "the txt of a published port holds at most 400 bytes together": any(
            sum(len((key + value).encode()) for key, value in publish.txt.items()) > _TXT_BYTES
            for publish in job.network.publish
        ),
        "secrets hold at most 32 KiB together": sum(
            max((len(each.ciphertext) for each in secret.sealed), default=0) for secret in job.secrets
        )
        > _SECRETS_BYTES,
        "secrets: no name twice": _repeats(secret.name for secret in job.secrets) is not None,
    }
    return next((text for text, wrong in faults.items() if wrong), None)


def _is_network(cidr: str) -> bool:
    try:
        return not cidr or bool(ipaddress.IPv4Network(cidr))
    except ValueError:
        return False


def _destination(egress: Egress) -> str:
    return f"{egress.cidr or egress.name}:{egress.port}/{egress.protocol or 'tcp'}"


def _port_fault(job: JobSpec, ports: dict[tuple[int, str], str]) -> str | None:
    for publish in job.network.publish:
        key = (publish.port, publish.protocol or "tcp")
        if key in ports:
            return f"port {key[0]}/{key[1]} is published by job {ports[key]} already"
        ports[key] = job.id
    return None


def _repeats(values: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _once(what: str, values: Iterable[str]) -> None:
    twice = _repeats(values)
    if twice is not None:
        raise refused("BAD_REQUEST", f"{what}: {twice!r} appears twice")


def apply(db: sqlite3.Connection, request: ApplyRequest) -> list[tuple[NodeRow, int, bool]]:
    """(node, revision, changed) for each node named; all of them or none."""
    desired = Desired()
    desired.CopyFrom(request.desired)
    desired.ClearField("revision")
    content = desired.SerializeToString(deterministic=True)
    found = [require(db, ref) for ref in request.nodes]
    return [(node, *nodes.set_desired(db, node.id, content, same)) for node in found]


def same(before: bytes, content: bytes) -> bool:
    """Whether both desire the same. Sealing is random: sealed secrets are the same when digest and key are."""
    return before == content or _without_ciphertext(before) == _without_ciphertext(content)


def _without_ciphertext(content: bytes) -> bytes:
    desired = Desired.FromString(content)
    for job in desired.jobs:
        for secret in job.secrets:
            for sealed in secret.sealed if len(secret.digest) == _DIGEST_BYTES else ():
                sealed.ClearField("ephemeral")
                sealed.ClearField("ciphertext")
    return desired.SerializeToString(deterministic=True)
