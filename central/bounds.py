"""The bounds in the comments of proto/storeedge/v1, as one table. Pure.

`violation(message)` names the first field that breaks one and says what it takes. Whatever is received is checked
here before anything is done with it. Metric batches have rules between their fields: see central.metrics.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from google.protobuf.message import Message

KIB, MIB = 1 << 10, 1 << 20
MAX_FRAME_BYTES = 256 * KIB
MAX_REPLY_BYTES = 192 * KIB
MAX_DESIRED_BYTES = 192 * KIB
_SIGNED = (1 << 63) - 1  # what SQLite can hold
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PROTOCOL = re.compile(r"(tcp|udp)?")
_PIB = 1 << 50
_JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_DEVICE_OR_NONE = re.compile(r"[A-Za-z0-9_.-]{0,64}")

# Bytes of a string (as UTF-8) or of bytes, fewest and most.
_SIZE = {
    "Hello.agent_version": (0, 64),
    "Hello.spool_epoch": (1, 64),
    "Hello.boot_id": (36, 36),
    "Hello.sealing_key_der": (0, 256),
    "Record.boot_id": (0, 36),
    "Gap.reason": (0, 256),
    "AuditEntry.actor": (0, 256),
    "AuditEntry.action": (0, 64),
    "AuditEntry.target": (0, 256),
    "AuditEntry.outcome": (0, 64),
    "AuditEntry.detail": (0, 1024),
    "UsageSample.chain_hash": (32, 32),
    "UsageSeal.certificate_der": (1, 4 * KIB),
    "UsageSeal.signature": (1, 128),
    "ChainHead.chain_hash": (32, 32),
    "Event.kind": (1, 64),
    "Event.reason": (0, 64),
    "Event.message": (0, 1024),
    "DeviceMessage.topic": (1, 512),
    "DeviceMessage.payload": (0, 128 * KIB),
    "DeviceMessage.content_type": (0, 128),
    "DeviceMessage.correlation_data": (0, 64),
    "DeviceMessage.idempotency_key": (0, 128),
    "DeviceValue.name": (0, 128),
    "DeviceValue.unit": (0, 32),
    "DeviceValue.text": (0, 512),
    "UserProperty.key": (0, 128),
    "UserProperty.value": (0, 512),
    "LogChunk.data": (0, 64 * KIB),
    "CallReply.payload": (0, MAX_REPLY_BYTES),
    "RenewRequest.csr_der": (1, 4 * KIB),
    "EnrolRequest.token_id": (1, 64),
    "EnrolRequest.token_secret": (43, 43),
    "EnrolRequest.csr_der": (1, 4 * KIB),
    "EnrolRequest.hardware": (0, 256),
    "Tenant.display_name": (0, 128),
    "StorePolicy.timezone": (0, 64),
    "SealedSecret.ephemeral": (65, 65),
    "SealedSecret.ciphertext": (16, 16 * KIB),
    "Secret.digest": (0, 32),
    "DeviceRule.filter": (1, 512),
    "DeadBand.field": (0, 128),
    "MqttGrant.channel": (0, 256),
    "CallNodeRequest.payload": (0, 128 * KIB),
    "CallNodeRequest.method": (1, 64),
}

# Members of a repeated field or a map.
_COUNT = {
    "Hello.acked": (0, 6),
    "Batch.records": (1, 1000),
    "Event.attributes": (0, 16),
    "DeviceMessage.user_properties": (0, 16),
    "DeviceMessage.values": (0, 64),
    "Desired.tenants": (0, 64),
    "Desired.jobs": (0, 256),
    "Desired.rules": (0, 256),
    "StorePolicy.hours": (0, 32),
    "TradingHours.weekdays": (0, 7),
    "JobSpec.command": (0, 64),
    "JobSpec.secrets": (0, 16),
    "JobSpec.mqtt": (0, 32),
    "MqttGrant.commands": (0, 16),
    "DeviceRule.redact": (0, 16),
    "Secret.sealed": (1, 16),
    "Network.egress": (0, 64),
    "Network.publish": (0, 16),
    "Publish.txt": (0, 8),
    "Health.command": (0, 64),
    "UsageSeal.heads": (1, 256),
    "JobSpec.env": (0, 64),
    "ApplyRequest.nodes": (1, 1000),
}

# Numbers; an enum that must be said begins at 1. A field that means its default when 0 is in _OPTIONAL too.
_NUMBER = {
    "Hello.lane": (1, 2),
    "Hello.desired_revision": (0, _SIGNED),
    "Position.record_class": (1, 6),
    "Position.seq": (0, _SIGNED),
    "Batch.record_class": (1, 6),
    "Batch.first_seq": (1, _SIGNED),
    "Heartbeat.desired_revision": (0, _SIGNED),
    "Heartbeat.spool_records": (0, _SIGNED),
    "Gap.record_class": (1, 6),
    "Gap.first_seq": (1, _SIGNED),
    "Gap.last_seq": (1, _SIGNED),
    "Gap.count": (1, _SIGNED),
    "UsageSample.chain_index": (1, _SIGNED),
    "ChainHead.chain_index": (1, _SIGNED),
    "Event.state": (0, 10),
    "Event.exit_code": (0, 255),
    "DeviceMessage.qos": (0, 2),
    "DeviceMessage.packet_id": (0, 65_535),
    "Quota.jobs": (0, 256),
    "Quota.cpu_milli": (0, 1_024_000),
    "Quota.memory_bytes": (0, _PIB),
    "Quota.disk_bytes": (0, _PIB),
    "Quota.network_bits_per_second": (0, _SIGNED),
    "Quota.network_bytes_per_month": (0, _SIGNED),
    "Quota.published_ports": (0, 65_535),
    "Quota.mqtt_topics": (0, 8192),
    "Budget.credit_micro": (0, _SIGNED),
    "Prices.cpu_core_hour_micro": (0, _SIGNED),
    "Prices.memory_gib_hour_micro": (0, _SIGNED),
    "Prices.disk_gib_hour_micro": (0, _SIGNED),
    "Prices.network_gib_micro": (0, _SIGNED),
    "Reserve.cpu_milli": (0, 1_024_000),
    "Reserve.memory_bytes": (0, _PIB),
    "Reserve.disk_bytes": (0, _PIB),
    "TradingHours.from_minute": (0, 1439),
    "TradingHours.to_minute": (1, 1440),
    "JobSpec.generation": (1, _SIGNED),
    "JobSpec.kind": (1, 2),
    "JobSpec.deadline_seconds": (0, 2_592_000),
    "JobSpec.stop_grace_seconds": (0, 300),
    "JobSpec.priority": (0, 3),
    "JobSpec.warm": (0, 8),
    "JobLimits.cpu_milli": (10, 1_024_000),
    "JobLimits.memory_bytes": (4 * MIB, _PIB),
    "JobLimits.pids": (4, 4096),
    "JobLimits.log_bytes": (4 * KIB, 64 * MIB),
    "JobLimits.tmp_bytes": (64 * KIB, _PIB),
    "JobLimits.open_files": (16, 65_536),
    "JobLimits.disk_bytes": (4 * MIB, 1 << 40),
    "JobLimits.io_bytes_per_second": (64 * KIB, _SIGNED),
    "Network.bits_per_second": (64_000, 100_000_000_000),
    "Network.bytes_per_month": (0, _SIGNED),
    "Egress.port": (1, 65_535),
    "Publish.port": (1, 65_535),
    "Publish.job_port": (0, 65_535),
    "Health.tcp_port": (0, 65_535),
    "Health.interval_seconds": (0, 3600),
    "Health.timeout_seconds": (0, 60),
    "Health.failures": (0, 1000),
    "Health.start_seconds": (0, 86_400),
    "Update.healthy_seconds": (0, 86_400),
    "RestartPolicy.mode": (0, 3),
    "RestartPolicy.window_seconds": (0, 2_592_000),
    "RestartPolicy.backoff_seconds": (0, 86_400),
    "RestartPolicy.backoff_max_seconds": (0, 86_400),
    "DeviceRule.residency": (0, 2),
    "DeviceRule.priority": (0, 9),
    "DeviceRule.max_per_minute": (0, 60_000),
    "DeviceRule.sample_every": (0, 1_000_000),
    "DeviceRule.latest_seconds": (0, 86_400),
    "DeviceRule.batch_seconds": (0, 86_400),
    "DeviceRule.max_payload_bytes": (0, 128 * KIB),
    "CreateTokenRequest.ttl_seconds": (60, 604_800),
    "QueryMetricsRequest.limit": (0, 10_000),
    "QueryRecordsRequest.record_class": (1, 6),
    "QueryRecordsRequest.limit": (0, 1000),
    "QueryRecordsRequest.after_id": (0, _SIGNED),
    "CallNodeRequest.deadline_milli": (1, 86_400_000),
}
_OPTIONAL = {
    "JobLimits.pids",
    "JobLimits.log_bytes",
    "JobLimits.tmp_bytes",
    "JobLimits.open_files",
    "JobLimits.disk_bytes",
    "JobLimits.io_bytes_per_second",
    "Network.bits_per_second",
}

_PATTERN = {
    "NodeRef.store": _LABEL,
    "NodeRef.node": _LABEL,
    "DeviceMessage.device": re.compile(r"[A-Za-z0-9_.-]{1,64}"),
    "Tenant.id": _TENANT,
    "JobSpec.id": _JOB,
    "JobSpec.tenant": _TENANT,
    "JobSpec.image": re.compile(r"host|([A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]{0,439}@)?sha256:[0-9a-f]{64}"),
    "JobSpec.stop_signal": re.compile(r"(TERM|INT|QUIT|HUP|USR1|USR2)?"),
    "Egress.cidr": re.compile(r"([0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2})?"),
    "Egress.name": re.compile(r"[a-z0-9._-]{0,253}"),
    "Egress.protocol": _PROTOCOL,
    "Publish.protocol": _PROTOCOL,
    "Publish.service": re.compile(r"[a-z0-9-]{0,15}"),
    "MqttGrant.device": _DEVICE_OR_NONE,
    "MqttGrant.zone": _DEVICE_OR_NONE,
    "MqttGrant.device_class": _DEVICE_OR_NONE,
    "Secret.name": re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}"),
    "SealedSecret.key_id": re.compile(r"[0-9a-f]{16}"),
    "ChainHead.tenant": _TENANT,
}

# Bytes of each key and value of a map.
_MEMBER = {"Event.attributes": 256, "Publish.txt": 400}

# Messages that must be there.
_REQUIRED = {
    "JobSpec.limits",
    "CreateTokenRequest.node",
    "ApplyRequest.desired",
    "ListNodeJobsRequest.node",
    "QueryMetricsRequest.node",
    "CallNodeRequest.node",
}


def violation(message: Message, path: str = "") -> str | None:
    """The first broken bound in `message` and below, None if all hold: "records[3].device.topic: 1..512 bytes"."""
    for field, name in _bounded(message.DESCRIPTOR):
        here = f"{path}.{field.name}" if path else field.name
        found = _broken(message, field, name)
        if found:
            return f"{here}: {found}"
        for below, child in _children(message, field):
            found = violation(child, f"{here}{below}")
            if found:
                return found
    return None


def size(name: str) -> tuple[int, int]:
    """The fewest and the most bytes of a field, for checks by hand: "DeviceMessage.topic"."""
    return _SIZE[name]


def count(name: str) -> tuple[int, int]:
    """The fewest and the most members of a repeated field."""
    return _COUNT[name]


@cache
def _bounded(descriptor: Any) -> list[tuple[Any, str]]:
    """The fields that have a row in a table, or messages below, with the names of their rows."""
    tables = (_SIZE, _COUNT, _NUMBER, _PATTERN, _MEMBER, _REQUIRED)
    named = [(field, f"{descriptor.name}.{field.name}") for field in descriptor.fields]
    return [(field, name) for field, name in named if field.message_type or any(name in table for table in tables)]


def _broken(message: Message, field: Any, name: str) -> str | None:
    if name in _MEMBER and any(
        len(word.encode()) > _MEMBER[name] for kv in getattr(message, field.name).items() for word in kv
    ):
        return f"keys and values of at most {_MEMBER[name]} bytes"
    if name in _COUNT:
        return _outside(len(getattr(message, field.name)), _COUNT[name], "members")
    if field.has_presence and not message.HasField(field.name):
        return "is required" if name in _REQUIRED else None
    if name in _SIZE:
        value = getattr(message, field.name)
        return _outside(len(value.encode() if isinstance(value, str) else value), _SIZE[name], "bytes")
    if name in _NUMBER:
        number = getattr(message, field.name)
        return None if number == 0 and name in _OPTIONAL else _outside(number, _NUMBER[name], "")
    if name in _PATTERN and not _PATTERN[name].fullmatch(getattr(message, field.name)):
        return _PATTERN[name].pattern
    return None


def _outside(value: int, allowed: tuple[int, int], unit: str) -> str | None:
    low, high = allowed
    if low <= value <= high:
        return None
    return f"{low}..{high} {unit}, not {value}".replace(" ,", ",")


def _children(message: Message, field: Any) -> Iterator[tuple[str, Message]]:
    """Messages held by a field. Maps of this wire hold scalars only; metrics and Status have rules of their own."""
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return
    if field.message_type.full_name in ("storeedge.v1.MetricBatch", "google.rpc.Status"):
        return
    if field.is_repeated:
        members: Sequence[Any] = getattr(message, field.name)
        yield from ((f"[{i}]", member) for i, member in enumerate(members))
    elif message.HasField(field.name):
        yield "", getattr(message, field.name)
