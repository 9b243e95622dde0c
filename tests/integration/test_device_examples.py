"""docs/DEVICES.md, its examples run as they stand there, from the first to the last."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import box
from tests.stack import NODE, STORE, Stack, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(180)]
TARGET = f"{STORE}/{NODE}"
PAGE = (Path(__file__).parents[2] / "docs/DEVICES.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Stack, Path]]:
    stack = Stack()
    try:
        gateway = box.open_gateway(stack)
        stack.up()
        box.start_gateway(stack)
        until(lambda: stack.edgectl_json("node", "show", TARGET)["node"]["connected"], what="the session")
        yield stack, box.commands(stack, gateway)
    finally:
        stack.close()


def test_the_examples_for_who_connects_devices_work(store: tuple[Stack, Path], tmp_path: Path) -> None:
    stack, commands = store
    for language, name in (("csv", "devices.csv"), ("python", "locker.py"), ("toml", "rules.toml")):
        (text,) = blocks(language)
        (tmp_path / name).write_text(text)
    told = tmp_path / "told"
    script = "set -eu\n" + "\n".join(blocks("sh"))
    with told.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script], stdout=out, stderr=out, cwd=tmp_path, start_new_session=True,
            env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"},
        )  # fmt: skip
    try:
        assert shell.wait(120) == 0, told.read_text()
    finally:
        os.killpg(shell.pid, signal.SIGKILL)  # locker.py runs on
        shell.wait(10)
    said = told.read_text()
    assert "opened 3\n" in said and "opened 4  (" in said
    assert "forwarded: no" in said and "Not authorized" not in said and "refused" not in said
    wanted = {"fridge-1/temperature", "gate-1/door/left", "scale-3/weight", "locker-1/cmd/open/ack"}
    until(lambda: wanted <= topics(stack), what="all messages at central")
    until(lambda: online(stack, "locker-1") is False, what="the last will of the killed locker")
    certificates = [tmp_path / "certs/fridge-1.crt", tmp_path / "gate-1.next.crt"]
    subprocess.run(["openssl", "verify", "-CAfile", tmp_path / "certs/ca.crt", *certificates], check=True)


def topics(stack: Stack) -> set[str]:
    messages = stack.edgectl_json("messages", TARGET)["messages"]
    return {message["topic"].removeprefix("devices/") for message in messages}


def online(stack: Stack, device: str) -> bool:
    (found,) = stack.edgectl_json("devices", TARGET, "--device", device)["devices"]
    return bool(found.get("online"))
