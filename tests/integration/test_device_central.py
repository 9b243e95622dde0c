"""Identities of devices, given and taken from central: through the tunnel, into the broker, into both audit trails."""

import csv
import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.stack import NODE, STORE, Stack, StackError, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(180)]
TARGET = f"{STORE}/{NODE}"


@pytest.fixture(scope="module")
def store() -> Iterator[Stack]:
    with running() as stack:
        until(lambda: stack.edgectl_json("node", "show", TARGET)["node"]["connected"], what="the session")
        yield stack


def publishes(stack: Stack, device: str, password: str, topic: str = "") -> bool:
    """Whether the broker lets it in and takes its message; over TLS, with the CA that was handed out."""
    ports, ca = stack.broker.ports, stack.broker.dir / "ca.crt"
    where = ["-h", "localhost", "-p", str(ports.passwords), "--cafile", str(ca), "-u", device, "-P", password]
    words = ["-V", "5", "-q", "1", "-t", topic or f"devices/{device}/state", "-m", "on"]
    done = subprocess.run(["mosquitto_pub", *where, *words], capture_output=True, text=True, timeout=30)
    return done.returncode == 0 and "Not authorized" not in done.stderr


def test_a_device_is_let_in_and_thrown_out_by_an_operator_far_away(store: Stack) -> None:
    told = store.edgectl_json("device", "add", TARGET, "scale", "--password", "--zone", "checkout")
    assert told["in_force"] and publishes(store, "scale", told["password"])
    assert not publishes(store, "scale", told["password"], "devices/other/state")
    until(lambda: "scale" in store.edgectl("messages", TARGET), what="its message at central")
    (device,) = store.edgectl_json("devices", TARGET, "--device", "scale")["devices"]
    assert (device["zone"], device["credential"]) == ("checkout", "CREDENTIAL_PASSWORD")
    store.edgectl("device", "revoke", TARGET, "scale")
    assert not publishes(store, "scale", told["password"])
    trail = json.dumps(store.edgectl_json("audit", "--limit", "100"))
    assert "call.PutDevice" in trail and "call.RevokeDevice" in trail and told["password"] not in trail
    until(lambda: '"scale"' in json.dumps(store.edgectl_json("audit", TARGET)), what="the node's own trail at central")


def test_a_list_is_imported_from_central_and_a_wrong_one_changes_nothing(store: Stack) -> None:
    file, out = store.dir / "list.csv", store.dir / "handed"
    file.write_text("id,zone,credential\n" + "".join(f"tag-{n},cold,password\n" for n in range(200)) + "door,,key\n")
    store.edgectl("device", "import", "--file", str(file), "--out", str(out), TARGET)
    rows = {row["id"]: row for row in csv.DictReader((out / "devices.csv").read_text().splitlines())}
    assert len(rows) == 201
    until(lambda: publishes(store, "tag-199", rows["tag-199"]["password"]), what="the last of them to be let in")
    verified = subprocess.run(["openssl", "verify", "-CAfile", out / "ca.crt", out / "door.crt"], capture_output=True)
    assert verified.returncode == 0
    file.write_text("id,credential\nnew,password\nstore,password\n")
    with pytest.raises(StackError, match="the agent's own"):
        store.edgectl("device", "import", "--file", str(file), TARGET)
    assert store.edgectl_json("devices", TARGET, "--device", "new")["devices"] == []
