import re
from pathlib import Path

import pytest
from google.protobuf.message import Message

from central import bounds
from storeedge.v1 import control_pb2, desired_pb2, enrolment_pb2, operator_pb2, record_pb2, types_pb2

PROTO = Path(__file__).parents[2] / "proto/storeedge/v1"


def job(**changes: object) -> desired_pb2.JobSpec:
    spec = desired_pb2.JobSpec(id="j", generation=1, tenant="t", kind=desired_pb2.JOB_KIND_BATCH, image="host")
    spec.limits.cpu_milli, spec.limits.memory_bytes = 10, 4 << 20
    for name, value in changes.items():
        setattr(spec, name, value)
    return spec


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (job(), None),
        (job(id="J"), "id: [a-z0-9]"),
        (job(generation=0), "generation: 1.."),
        (job(kind=7), "kind: 1..2, not 7"),
        (desired_pb2.JobSpec(id="j", generation=1, tenant="t", kind=1, image="host"), "limits: is required"),
        (desired_pb2.Desired(jobs=[job(), job(stop_grace_seconds=301)]), "jobs[1].stop_grace_seconds: 0..300, not 301"),
        (record_pb2.Event(kind="x", exit_code=256), "exit_code: 0..255, not 256"),
        (record_pb2.Event(kind="x"), None),
        (record_pb2.Event(kind="x", attributes={"a": "b" * 257}), "attributes: keys and values of at most 256 bytes"),
        (record_pb2.DeviceMessage(device="d/e", topic="t"), "device: [A-Za-z0-9_.-]"),
        (record_pb2.DeviceMessage(device="d", topic="ä" * 257), "topic: 1..512 bytes, not 514"),
        (control_pb2.Batch(record_class=4, first_seq=1 << 63, records=[record_pb2.Record()]), "first_seq: 1.."),
        (enrolment_pb2.EnrolRequest(token_id="t"), "token_secret: 43..43 bytes, not 0"),
        (operator_pb2.CreateTokenRequest(ttl_seconds=60), "node: is required"),
        (operator_pb2.CreateTokenRequest(ttl_seconds=60, node=types_pb2.NodeRef(store="s", node="")), "node.node: "),
    ],
)  # fmt: skip
def test_the_first_broken_bound_is_told_by_its_path(message: Message, said: str | None) -> None:
    found = bounds.violation(message)
    assert found == said if said is None else found is not None and found.startswith(said), found


def test_every_name_in_the_tables_is_a_field_of_the_wire() -> None:
    modules = (control_pb2, desired_pb2, enrolment_pb2, operator_pb2, record_pb2, types_pb2)
    messages = {name: m for module in modules for name, m in module.DESCRIPTOR.message_types_by_name.items()}
    tables = (bounds._SIZE, bounds._COUNT, bounds._NUMBER, bounds._PATTERN, bounds._REQUIRED, bounds._OPTIONAL)
    for name in {name for table in tables for name in table}:
        message, _, field = name.partition(".")
        assert field in messages[message].fields_by_name, name


def test_every_bound_in_the_comments_of_what_nodes_send_has_its_row() -> None:
    known = {*bounds._SIZE, *bounds._COUNT, *bounds._NUMBER, *bounds._PATTERN}
    elsewhere = {"MetricBatch", "Series"}  # central.metrics
    for file in ("record.proto", "control.proto", "enrolment.proto"):
        message = ""
        for line in (PROTO / file).read_text().splitlines():
            if found := re.match(r"message (\w+)", line):
                message = found[1]
            field = re.match(r"\s+[\w., <>]+ (\w+) = \d+;\s*// .*(at most|\d\.\.\d)", line)
            if field and message not in elsewhere and not message.endswith(("Response", "Welcome", "Credit", "Call")):
                assert f"{message}.{field[1]}" in known | {"Event.attributes", "AgentFrame.frame"}, line
