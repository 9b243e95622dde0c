"""`systemctl reload edge-agent`, from its signal on: what changes, what takes a restart, and what a wrong file does."""

import re
import signal
from collections.abc import Iterator

import pytest

from tests.stack import NODE, STORE, Stack, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def store() -> Iterator[Stack]:
    with running() as stack:
        yield stack


def reload(store: Stack, *, said: str) -> str:
    """What the agent logged from the signal until `said`."""
    agent = store.parts["agent"]
    before = agent.log.stat().st_size
    agent.process.send_signal(signal.SIGHUP)

    def since() -> str:
        return agent.log.read_text()[before:]

    until(lambda: said in since() and "reloaded" in since(), what=said)
    return since()


def with_key(text: str, section: str, line: str) -> str:
    return re.sub(rf"^\[{section}\]\n", f"[{section}]\n{line}\n", text, flags=re.MULTILINE)


def test_a_reload_takes_what_it_can_and_names_what_it_cannot(store: Stack) -> None:
    good = store.config.read_text()
    pid = store.parts["agent"].process.pid
    changed = (
        with_key(good, "mqtt", "max_devices = 300") + "[images]\nlimit_bytes = 33554432\n[heat]\nlimit_celsius = 95.0\n"
    )
    try:
        store.config.write_text(changed)
        told = reload(store, said="restart needed")
        assert "configuration changed: [heat] limit_celsius, [images] limit_bytes" in told
        assert "restart needed (systemctl restart edge-agent): [mqtt] max_devices" in told
    finally:
        store.config.write_text(good)
    assert "configuration changed: [heat] limit_celsius, [images] limit_bytes" in reload(store, said="changed")
    assert store.parts["agent"].process.pid == pid


def test_of_a_wrong_file_nothing_is_taken(store: Stack) -> None:
    good = store.config.read_text()
    try:
        store.config.write_text(good + '[heat]\nlimit_celsius = 95.0\nhold_seconds = "long"\n')
        told = reload(store, said="configuration is wrong")
        assert f"the old one stays whole: {store.config}:" in told
        assert "[heat] hold_seconds: is a string; allowed: a number 0.0..3600.0" in told
        assert "configuration changed" not in told
    finally:
        store.config.write_text(good)
    assert "configuration changed" not in reload(store, said="reloaded")
    assert store.edgectl_json("nodes")["nodes"][0]["ref"] == {"store": STORE, "node": NODE}
