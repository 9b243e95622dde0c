"""From a generated spec through admission and the agent's request to the launcher's judged plan.

200 specs in `./dev test`, 20,000 with EDGE_FUZZ=full.
"""

import json
import os
from dataclasses import asdict

from hypothesis import HealthCheck as Slow
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.jobs.admission import Account, Admit, decide
from agent.jobs.budget import Spending
from agent.jobs.moves import run_name
from agent.jobs.request import job_request, reach
from agent.jobs.room import Capacity
from agent.sandbox import Reach
from agent.spec import (
    Egress,
    HealthCheck,
    JobKind,
    JobSpec,
    Limits,
    Network,
    Priority,
    Publish,
    Quota,
    Reserve,
    RestartMode,
    RestartPolicy,
    Tenant,
)
from tests.fuzz.frames import MARK, answer

SPECS = 20_000 if os.environ.get("EDGE_FUZZ") == "full" else 200
MIB = 1 << 20
DIGEST = "sha256:" + "cd" * 32

_word = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(lambda text: MARK + text)
_octet = st.integers(0, 255)
_cidr = st.builds(lambda a, b: f"{a}.{b}.0.0/16", _octet, _octet) | st.just("0.0.0.0/0")
_name = st.from_regex(r"[a-z]{1,12}\.example\.com", fullmatch=True)
_protocol = st.sampled_from(["tcp", "udp"])
_port = st.integers(1, 65535)
_egress = st.builds(Egress, _port, _protocol, cidr=_cidr) | st.builds(Egress, _port, _protocol, name=_name)
_publish = st.builds(Publish, st.integers(1024, 65535), st.integers(1, 65535), _protocol)
_network = st.builds(
    Network,
    st.lists(_egress, max_size=8).map(tuple),
    st.lists(_publish, max_size=3, unique_by=lambda one: (one.port, one.protocol)).map(tuple),
    st.booleans(),
    st.integers(64_000, 10**9),
)
_words = st.lists(_word, min_size=1, max_size=4).map(tuple)
_health = st.builds(HealthCheck, command=_words) | st.builds(HealthCheck, tcp_port=_port)
_specs = st.builds(
    JobSpec,
    id=st.from_regex(r"[a-z0-9][a-z0-9-]{0,47}", fullmatch=True),
    generation=st.integers(1, 2**40),
    tenant=st.just("acme"),
    kind=st.sampled_from(JobKind),
    image=st.sampled_from(["host", DIGEST]),
    command=st.lists(_word, min_size=1, max_size=6).map(tuple),
    limits=st.builds(
        Limits,
        cpu_milli=st.integers(10, 8000),
        memory_bytes=st.integers(4 * MIB, 8 << 30),
        pids=st.integers(4, 4096),
        log_bytes=st.integers(4096, 64 * MIB),
        tmp_bytes=st.integers(65536, 4 * MIB),
        open_files=st.integers(16, 65536),
        disk_bytes=st.just(0) | st.integers(4 * MIB, 2 << 30),
        io_bytes_per_second=st.just(0) | st.integers(65536, 1 << 40),
    ),
    restart=st.just(RestartPolicy(RestartMode.NEVER)),
    env=st.dictionaries(st.from_regex(r"[A-Za-z_]{1,10}", fullmatch=True), _word, max_size=4),
    priority=st.sampled_from([Priority.SPOT, Priority.GUARANTEED]),
    network=st.none() | _network,
    health=st.none() | _health,
)
_ACCOUNT = Account(Tenant("acme", quota=Quota(9, 6000, 6 << 30, 1 << 40, 10**12, 1 << 50, 9, 9)), Spending())
_BOX = Capacity(
    cpu_milli=8000, memory_bytes=8 << 30, memory_controller=True, disk_bytes=1 << 40, runs=64, network=True,
    reserve=Reserve(500, MIB), largest=Reserve(1000, MIB), month=0,
)  # fmt: skip


@settings(max_examples=SPECS, deadline=None, suppress_health_check=list(Slow), database=None)
@given(_specs, st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), st.binary(max_size=64), max_size=3))
def test_what_is_admitted_is_understood_by_the_launcher_and_its_plan_stays_within_bounds(
    spec: JobSpec, secrets: dict[str, bytes]
) -> None:
    if not isinstance(decide(spec, (), {"acme": _ACCOUNT}, _BOX), Admit):
        return
    network = spec.network
    known = reach(network, lambda _: ("192.0.2.7", "10.0.0.9"), cut=False) if network is not None else Reach()
    request = job_request(run_name(spec, 1), spec, spec.image, known, secrets)
    said, runs = answer(json.dumps({"op": "start", **asdict(request)}).encode())
    if "error" in said:  # root's policy has the last word, and says so
        assert said["error"]["code"] == "not-allowed", said
    else:
        assert len(runs.plans) == 1
