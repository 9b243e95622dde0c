"""What hostile jobs try (tests/sandbox/probes), on the board: asked for by central, beside another tenant's job."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import on_site
from tests.sandbox import pack, prove
from tests.sandbox.grounds import NEIGHBOUR, Ran
from tests.sandbox.probes.verdict import CANARY, Probe

EXHAUST = ("fork-bomb", "memory-bomb", "fill-tmp", "inode-fill", "disk-fill", "log-flood")
TOP = """
[store]
reserve = { cpu_milli = 100, memory = "128MiB", disk = "64MiB" }

[[tenant]]
id = "victim"
quota = { jobs = 1, cpu_milli = 200, memory = "64MiB", network_rate = "10Mbit/s", network_month = "1GiB" }

[[tenant]]
id = "mallory"

[tenant.quota]
jobs = 16
cpu_milli = 1600
memory = "512MiB"
disk = "16MiB"
network_rate = "10Mbit/s"
network_month = "1GiB"
"""
LOG_BYTES = 1 << 20
SECONDS = 120.0  # that one probe may take: the board is emulated


def chosen() -> dict[str, tuple[str, list[Probe]]]:
    """Job -> its file of probes, and which: those of a file share a job, but for those that take all there is."""
    jobs: dict[str, tuple[str, list[Probe]]] = {}
    for file, probes in pack.registry().items():
        if file in pack.ALONE:
            jobs |= {probe.name: (file, [probe]) for probe in probes if probe.name in EXHAUST}
        else:
            jobs[file] = (file, probes)
    return jobs


JOBS = chosen()


def table(name: str, tenant: str, command: tuple[str, ...], rest: str) -> str:
    words = json.dumps(command)  # a list of strings is the same in TOML
    return f'[[job]]\nid = "{name}"\ntenant = "{tenant}"\ncommand = {words}\nlog = {LOG_BYTES}\n{rest}\n'


def victims(secret: str) -> str:
    return table(
        "neighbour", "victim", ("/usr/bin/python3", "-c", NEIGHBOUR),
        'kind = "service"\ncpu_milli = 200\nmemory = "64MiB"\nnetwork = {}\nrestart = { mode = "never" }\n'
        f"secrets = {{ {CANARY} = {{ file = '{secret}' }} }}",
    )  # fmt: skip


def hostile(secret: str) -> list[str]:
    needs = {
        "disk": f"disk = \"16MiB\"\nsecrets = {{ token = {{ file = '{secret}' }} }}",
        "network": 'network = { egress = ["198.51.100.7/32:90"] }',
    }
    # Two of them fit: those that don't are rejected, and tried again when the ones before have ended.
    all_have = 'kind = "batch"\ncpu_milli = 800\nmemory = "128MiB"\ntmp = "16MiB"\nrestart = { mode = "never" }\n'
    return [
        table(
            name, "mallory", pack.argv(file, [probe.name for probe in probes], SECONDS), all_have + needs.get(name, "")
        )
        for name, (file, probes) in JOBS.items()
    ]


@pytest.fixture(scope="module")
def secret(central: Central) -> str:
    file = central.directory / "canary"
    file.write_text(CANARY)
    return str(file)


@pytest.fixture
def neighbour(enrolled: Any, town: None, central: Central, secret: str) -> dict[str, Any]:  # noqa: ARG001
    """There before the others come."""
    if not central.job(NODE, "neighbour"):
        central.apply(NODE, TOP + victims(secret))
    until(lambda: central.job(NODE, "neighbour").get("state") == "JOB_STATE_RUNNING", "the neighbour to run", 180)
    return central.job(NODE, "neighbour")


@pytest.fixture
def applied(neighbour: dict[str, Any], central: Central, secret: str) -> None:  # noqa: ARG001
    central.apply(NODE, "\n".join((TOP, victims(secret), *hostile(secret))))


def ran(name: str, central: Central, ssh: Any) -> Ran:
    until(lambda: int(central.job(NODE, name).get("ended_unix_nano", 0)) > 0, f"{name} to end", 300)
    job = central.job(NODE, name)
    text = "\n".join(str(line["text"]) for line in central.ask("logs", NODE, name)["lines"])
    kept = ssh.run_check(f"cat /run/edge-launcher/logs/*{name}* | wc -c")
    return Ran(text, job.get("exit_code"), job["reason"] == "oom", int(kept[0]))


# systemd tells of the memory bomb's end, of the unit and of the slice above it, whichever test is waiting then.
@pytest.mark.expects("edge-jobs.service", "edge-tenants.slice", "edge.slice")
@pytest.mark.parametrize("name", JOBS)
@pytest.mark.timeout(400)
def test_the_sandbox_holds(
    name: str,
    enrolled: Any,
    neighbour: dict[str, Any],
    applied: None,  # noqa: ARG001
    central: Central,
    record_property: Callable[[str, object], None],
) -> None:
    found = ran(name, central, enrolled)
    judged = {probe.name: prove.judged(probe, found) for probe in JOBS[name][1]}
    for probe, verdict in judged.items():
        record_property(probe, verdict)
    assert {k: v for k, v in judged.items() if v.split(":")[0] not in ("held", "measured")} == {}
    after = central.job(NODE, "neighbour")
    assert (after["state"], after["attempt"]) == ("JOB_STATE_RUNNING", neighbour["attempt"])


def test_the_neighbour_was_never_disturbed_and_the_launcher_answers(
    enrolled: Any, neighbour: dict[str, Any], central: Central
) -> None:
    assert central.ask("logs", NODE, "neighbour")["lines"][-1]["text"].startswith("beat")
    assert enrolled.run_check("systemctl show -P NRestarts edge-launcher edge-agent edge-jobs") == [
        "0",
        "",
        "0",
        "",
        "0",
    ]
    assert on_site(enrolled, "neighbour")["attempt"] == neighbour["attempt"]
    # Some probes died of their system calls: systemd-coredump, which this board has, got nothing of them.
    assert enrolled.run_check("ls /var/lib/systemd/coredump") == []
    central.apply(NODE, TOP)
