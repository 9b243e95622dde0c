"""An image from an operator's file into a store's box: through central, over a WAN that breaks, past a killed agent."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import registry as reg
from tests.registry import image, layer
from tests.stack import BIN, NODE, STORE, Stack, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(120)]
TARGET = f"{STORE}/{NODE}"
BIG = image(layer({"data": random.Random(1).randbytes(24 << 20)}))


@pytest.fixture(scope="module")
def store() -> Iterator[Stack]:
    with running() as stack:
        yield stack


def received(store: Stack) -> int:
    files = list((store.state_dir / "images/uploads").glob("[0-9a-f]*"))
    return files[0].stat().st_size if files else 0


def test_a_push_goes_on_after_a_cut_and_a_killed_agent_and_gives_the_digest(store: Stack, tmp_path: Path) -> None:
    archive = reg.write_archive(BIG, tmp_path / "app.tar")
    words = [BIN / "edgectl", "--dir", store.dir / "central", "--central", f"127.0.0.1:{store.control_port}"]
    push = subprocess.Popen(
        [str(word) for word in (*words, "image", "push", TARGET, archive)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
    )  # fmt: skip
    until(lambda: received(store) > 1 << 20, what="the first pieces")
    store.wire.cut()
    until(lambda: not store.edgectl_json("node", "show", TARGET)["node"]["connected"], what="central to notice the cut")
    at_cut = received(store)
    store.wire.mend()
    until(lambda: received(store) > at_cut, what="it to go on after the cut")
    store.parts["agent"].kill()
    at_kill = received(store)
    assert 0 < at_kill < archive.stat().st_size
    store.start_agent()
    out, said = push.communicate(timeout=60)
    assert (push.returncode, out.strip()) == (0, BIG.digest), said
    (listed,) = store.edgectl_json("images", TARGET)["images"]
    assert (listed["digest"], listed["state"]) == (BIG.digest, "fetched")
    assert BIG.digest in store.edgectl("images", TARGET)
    assert received(store) == 0


def test_it_is_one_deed_in_both_audit_trails(store: Stack) -> None:
    at_central = [
        e for e in store.edgectl_json("audit")["audit"] if e["action"] == "call.PutImage" and e["outcome"] == "ok"
    ]
    assert len(at_central) == 1

    def at_node() -> list[str]:
        entries = store.edgectl_json("audit", TARGET)["audit"]
        return [e["outcome"] for e in entries if e["action"] == "call.PutImage" and e["outcome"] in {"asked", "ok"}]

    until(lambda: at_node() == ["asked", "ok"], what="the node's audit trail")


def test_the_doctor_finds_what_runs_and_says_what_does_not(store: Stack) -> None:
    done = json.loads(store.agent_cli("doctor", "--json"))
    levels = {each["check"]: each["level"] for each in done["checks"]}
    assert {levels[name] for name in ("launcher", "certificate", "broker", "central", "spool", "programs")} <= {
        "ok",
        "warn",
    }
