"""Fixtures: the board in the state a test asks for, central beside it, and what is kept of each test."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from labgrid.pytestplugin.hooks import LABGRID_ENV_KEY

from hil import board as on_board
from hil import injected as injections
from hil import journal, release
from hil.board import COMMAND_SECONDS, PATIENCE
from hil.central import Central
from hil.qmp import Qmp
from hil.strategy import Status

NODE = "berlin-12/edge-1"
REPORT = Path(os.environ["LG_HIL_REPORT"])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "expects(*units): these units may fail and be restarted in this test")
    config.addinivalue_line("markers", "core: what is shown on every board, however slow it is")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the order of the files' numbers: 2 comes before 10.

    A slow board names the marker of the tests it has time for, unless the command line chooses.
    """
    items.sort(key=lambda item: int(item.path.name.split("_")[1]))  # stable: within a file nothing moves
    only = config.stash[LABGRID_ENV_KEY].config.data["options"].get("only")
    chosen = config.option.markexpr or config.option.keyword or config.args_source != config.ArgsSource.TESTPATHS
    if only and not chosen:
        left_out = [item for item in items if item.get_closest_marker(only) is None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0] if marker else config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(seconds * PATIENCE), append=False)


@pytest.fixture(scope="session")
def times() -> Iterator[dict[str, float]]:
    """Seconds that things took, kept in times.json."""
    kept: dict[str, float] = {}
    yield kept
    (REPORT / "times.json").write_text(json.dumps({name: round(value, 1) for name, value in kept.items()}, indent=2))


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, str]]:
    """What else was measured, as value and unit ("41.2 MiB"), kept in figures.json."""
    kept: dict[str, str] = {}
    yield kept
    (REPORT / "figures.json").write_text(json.dumps(kept, indent=2))


@pytest.fixture(scope="session")
def central(env: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    options = env.config.data["options"]
    made = Central(
        tmp_path_factory.mktemp("central"),
        listen=options.get("central_listen", "127.0.0.1"),
        address=options["central_address"],
    )
    made.start()
    yield made
    made.stop()
    (REPORT / "central.log").write_bytes(made.log.read_bytes())


@pytest.fixture(scope="session")
def disk(env: Any) -> None:
    """A fresh copy-on-write disk, before QEMUDriver names it on its command line."""
    images = env.config.get_images()
    if "base" in images:
        base, disk = (env.config.get_image_path(name) for name in ("base", "disk"))
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk], check=True, timeout=60
        )


@pytest.fixture(scope="session")
def board(
    disk: None,  # noqa: ARG001
    strategy: Any,
    central: Central,
    times: dict[str, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """The strategy, which knows how to install this checkout's release and how to enrol to `central`."""

    def install(ssh: Any) -> None:
        package = release.put(ssh, tmp_path_factory.mktemp("release"))
        started = time.monotonic()
        release.install(ssh, package)
        times["install"] = time.monotonic() - started

    def enrol(ssh: Any) -> None:
        # A store waits up to a minute between two tries to reach central; the suite doesn't.
        ssh.run_check("sed -i 's/^#backoff_max_seconds = .*/backoff_max_seconds = 5.0/' /etc/edge-agent/agent.toml")
        ssh.run_check("edge-agent config check /etc/edge-agent/agent.toml", timeout=COMMAND_SECONDS)
        ssh.run_check(
            f"edge-agent enrol --central {central.address}:{central.enrol_port} --token {central.token(NODE)}",
            timeout=COMMAND_SECONDS,
        )
        started = time.monotonic()
        ssh.run_check("systemctl start edge-agent", timeout=180 * PATIENCE)
        times["agent start to ready"] = time.monotonic() - started
        on_board.until(lambda: central.connected(NODE), "the agent to connect to central")

    strategy.install, strategy.enrol = install, enrol
    yield strategy
    strategy.switch_off()


def _reach(board: Any, status: Status, times: dict[str, float]) -> Any:
    if board.status < status:
        started = time.monotonic()
        board.transition(status)
        times[f"to {status.name.lower()}"] = time.monotonic() - started
    return board.ssh


@pytest.fixture
def booted(board: Any, times: dict[str, float]) -> Any:
    """Its ssh."""
    return _reach(board, Status.BOOTED, times)


@pytest.fixture
def installed(board: Any, times: dict[str, float]) -> Any:
    """Its ssh; not enrolled unless a test before this one needed that."""
    return _reach(board, Status.INSTALLED, times)


@pytest.fixture
def enrolled(board: Any, times: dict[str, float]) -> Any:
    """Its ssh."""
    return _reach(board, Status.ENROLLED, times)


@pytest.fixture
def isolated(board: Any, enrolled: Any) -> Iterator[Any]:  # noqa: ARG001
    """Its ssh; nothing else passes between the board and the world until the test ends."""
    board.transition(Status.ISOLATED)
    yield board.ssh
    board.transition(Status.ENROLLED)


@pytest.fixture
def town(enrolled: Any) -> None:
    """A LAN and a world around the board (hil/town.py), until it is switched off."""
    on_board.build_town(enrolled)


@pytest.fixture
def qmp(env: Any, booted: Any) -> Iterator[Qmp]:  # noqa: ARG001
    socket = env.config.data["options"].get("qmp_socket")
    if socket is None:
        pytest.skip("done by QEMU's monitor: not on a real board")
    with Qmp(Path(socket)) as monitor:
        yield monitor


@pytest.fixture
def injected() -> Callable[[str], None]:
    """Says in the report what was done to the board, and how many seconds into the test."""
    return injections.note


@pytest.fixture(autouse=True)
def kept_journal(request: pytest.FixtureRequest, board: Any, booted: Any) -> Iterator[None]:  # noqa: ARG001
    """Every test's journal is kept in the report, and a fault in it fails the test."""
    since = on_board.now(board.ssh)
    with injections.collected() as faults:
        yield
    request.node.user_properties += [("injected", line) for line in faults]
    entries = on_board.journal_since(board.ssh, since)
    (REPORT / f"{request.node.name}.journal").write_text("".join(f"{journal.line(entry)}\n" for entry in entries))
    marker = request.node.get_closest_marker("expects")
    found = journal.faults(entries, marker.args if marker else ())
    assert not found, "\n".join(found)
