"""Whatever the agent's user sends, the launcher answers, and no plan leaves what root's policy allows.

500 packets in `./dev test`, 20,000 with EDGE_FUZZ=full: `./dev fuzz`, where atheris, ten times as fast, adds a million.
"""

import json
import os
from base64 import b64encode
from dataclasses import asdict
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.fakes.launcher import FULL, REQUEST
from tests.fuzz.frames import MARK, answer

PACKETS = 20_000 if os.environ.get("EDGE_FUZZ") == "full" else 500
GOOD: dict[str, Any] = json.loads(json.dumps(asdict(FULL)))
IMAGE = "sha256:" + "ab" * 32

_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
    | st.sampled_from(["../../etc/passwd", "/", "\0", "host\n", "$(reboot)", "; drop", "\ud800", "a" * 300, IMAGE]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_word = st.text(max_size=20).map(lambda text: MARK + text)
_port = st.integers(1, 65535) | st.integers(20000, 29999)
_protocol = st.sampled_from(["tcp", "udp"])
_octet = st.integers(0, 255)
_address = st.builds("{}.{}.{}.{}".format, _octet, _octet, _octet, _octet)
_cidr = st.builds("{}/{}".format, _address, st.integers(0, 32)) | st.builds("{}.0.0.0/8".format, _octet)
_reach = st.fixed_dictionaries(
    {
        "destinations": st.lists(
            st.fixed_dictionaries({"cidr": _cidr, "port": _port, "protocol": _protocol}), max_size=6
        ),
        "hosts": st.dictionaries(
            st.from_regex(r"[a-z]{1,10}\.example", fullmatch=True),
            st.lists(_address, min_size=1, max_size=3),
            max_size=3,
        ),
    }
)  # fmt: skip
_fields: dict[str, st.SearchStrategy[Any]] = {
    "run": st.from_regex(r"[a-z0-9][a-z0-9.-]{0,79}", fullmatch=True),
    "tenant": st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
    "job": st.from_regex(r"[a-z0-9][a-z0-9-]{0,47}", fullmatch=True),
    "image": st.sampled_from(["host", IMAGE]),
    "command": st.lists(_word, min_size=1, max_size=5),
    "cpu_milli": st.integers(10, 5000),
    "memory_bytes": st.integers(4 << 20, 5 << 30),
    "pids": st.integers(4, 4096),
    "log_bytes": st.integers(4096, 64 << 20),
    "tmp_bytes": st.integers(65536, 8 << 20),
    "open_files": st.integers(16, 65536),
    "disk_bytes": st.just(0) | st.integers(4 << 20, 2 << 30),
    "io_bytes_per_second": st.just(0) | st.integers(65536, 1 << 40),
    "env": st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), _word, max_size=4),
    "network": st.none()
    | st.fixed_dictionaries(
        {
            "reach": _reach,
            "publish": st.lists(
                st.fixed_dictionaries({"port": _port, "job_port": _port, "protocol": _protocol}), max_size=3
            ),
            "peers": st.booleans(),
            "bits_per_second": st.integers(64_000, 10**9),
        }
    ),
    "check": st.none() | st.fixed_dictionaries({"command": st.lists(_word, min_size=1, max_size=3)}),
    "secrets": st.dictionaries(
        st.from_regex(r"[A-Z]{1,8}", fullmatch=True),
        st.binary(max_size=30).map(lambda content: b64encode(content).decode()),
        max_size=2,
    ),
}  # fmt: skip


@st.composite
def _jobs(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly sound, so that plans are made; a few fields of any shape."""
    raw = {"op": draw(st.sampled_from(["start", "hold"])), **GOOD}
    for name in draw(st.sets(st.sampled_from(sorted(_fields)), max_size=len(_fields))):
        raw[name] = draw(_fields[name])
    for name in draw(st.sets(st.sampled_from([*sorted(raw), "uid", "rootfs"]), max_size=2) | st.just(set[str]())):
        raw[name] = draw(_junk)
    return raw


_ops = st.fixed_dictionaries(
    {
        "op": st.sampled_from(
            ["state", "watch", "signal", "check", "reach", "usage", "logs", "remove", "list", "hello", "image",
             "images", "remove-image", "disks", "remove-disk"]
        )
        | _junk
    },
    optional={
        "run": _fields["run"] | _junk,
        "signal": st.sampled_from(["TERM", "KILL", "STOP"]) | _junk,
        "reach": _reach | _junk,
        "image": st.just(IMAGE) | _junk,
        "tenant": _fields["tenant"] | _junk,
        "job": _fields["job"] | _junk,
        "after": _junk,
    },
)  # fmt: skip
_packets = (
    _jobs().map(lambda raw: json.dumps(raw).encode())
    | _ops.map(lambda raw: json.dumps(raw).encode())
    | _junk.map(lambda raw: json.dumps(raw).encode())
    | st.binary(max_size=200)
    | st.integers(1, 100_000).map(lambda depth: b"[" * depth)
)


@settings(max_examples=PACKETS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(_packets)
def test_any_packet_is_answered_and_no_plan_leaves_the_policy(packet: bytes) -> None:
    said, runs = answer(packet)
    assert ("ok" in said) != ("error" in said)
    if "error" in said:
        assert said["error"]["code"] in ("bad-request", "not-allowed", "not-found"), said
    event("plan" if runs.plans else "no plan")


def test_a_sound_request_makes_a_plan() -> None:
    for request in (REQUEST, FULL):
        said, runs = answer(json.dumps({"op": "start", **asdict(request)}).encode())
        assert "ok" in said, said
        assert len(runs.plans) == 1
