from pathlib import Path

import pytest

from central import bounds
from central.cli.document import DocumentError, parse, read
from central.cli.document_job import Source
from central.desired import check as check_desired
from storeedge.v1.desired_pb2 import (
    JOB_KIND_BATCH,
    PRIORITY_GUARANTEED,
    RESIDENCY_STORE,
    RESTART_MODE_ON_FAILURE,
    MqttGrant,
)

EXAMPLE = Path(__file__).parents[3] / "docs/examples/store.toml"

JOB = """
[[job]]
id = "j"
tenant = "t"
kind = "batch"
command = ["true"]
cpu_milli = 100
memory = "64MiB"
"""


def test_the_example_that_ships_is_sound() -> None:
    wanted = read(EXAMPLE)
    check_desired(wanted.desired)
    assert wanted.nodes == ["berlin-1/edge-1"]
    assert [tenant.id for tenant in wanted.desired.tenants] == ["citycloud", "skylane-drones"]
    job = wanted.desired.jobs[0]
    assert (job.kind, job.limits.memory_bytes, job.deadline_seconds) == (JOB_KIND_BATCH, 64 << 20, 600)
    assert (job.restart.mode, job.restart.max_attempts, job.restart.window_seconds) == (RESTART_MODE_ON_FAILURE, 3, 600)
    assert dict(job.env) == {"LANG": "C.UTF-8"}
    assert [(rule.residency == RESIDENCY_STORE, rule.priority) for rule in wanted.desired.rules] == [
        (True, 5),
        (False, 9),
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLE.parent.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_sound(path: Path) -> None:
    wanted = read(path)
    check_desired(wanted.desired)
    assert bounds.violation(wanted.desired) is None
    assert wanted.nodes


def test_what_is_not_said_is_left_to_the_node() -> None:
    job = parse(JOB).desired.jobs[0]
    assert (job.generation, job.image, job.limits.pids, job.deadline_seconds) == (1, "host", 0, 0)
    assert not job.HasField("restart")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nods = []", "unknown key 'nods'; did you mean 'nodes'? allowed are nodes, store, tenant, job, rule"),
        ("nodes = ['x']", "nodes: node 'x': written STORE/NODE"),
        ("job = 3", "[[job]]: written in double brackets, at most 256 of them"),
        ("[job]\nid = 'j'", "[[job]]: written in double brackets, at most 256 of them"),
        (JOB.replace("command", "comand"), "[[job]] 1 (j): unknown key 'comand'; did you mean 'command'? allowed are"),
        (JOB.replace('kind = "batch"', ""), "[[job]] 1 (j): kind: is missing"),
        (JOB.replace('"batch"', '"cron"'), "[[job]] 1 (j): kind: one of batch, service, not 'cron'"),
        (JOB.replace("100", '"100"'), "[[job]] 1 (j): cpu_milli: a number in 10..1024000, not '100'"),
        (JOB.replace("100", "true"), "[[job]] 1 (j): cpu_milli: a number in 10..1024000, not True"),
        (JOB.replace("64MiB", "64MB"), '[[job]] 1 (j): memory: bytes, or "64MiB" and the like'),
        (JOB.replace("64MiB", "1KiB"), '[[job]] 1 (j): memory: bytes, or "64MiB" and the like'),
        (JOB.replace('["true"]', '"true"'), "[[job]] 1 (j): command: a list of 1..64 strings"),
        (JOB.replace('["true"]', '["a\\u0000"]'), "[[job]] 1 (j): command: a list of 1..64 strings"),
        (JOB.replace('["true"]', '[""]'), "[[job]] 1 (j): command: a first word"),
        (JOB + 'env = { "A-B" = "x" }', "[[job]] 1 (j): env: names of [A-Za-z0-9_], not 'A-B'"),
        (JOB + 'deadline = "10 m"', '[[job]] 1 (j): deadline: seconds, or "10m" and the like'),
        (JOB + "restart = { max_attempts = 3 }", "[[job]] 1 (j): restart: mode: is missing"),
        (JOB + 'restart = "always"', "[[job]] 1 (j): restart: a table with mode, max_attempts"),
        (JOB + JOB.replace("100", "5"), "[[job]] 2 (j): cpu_milli: a number in 10..1024000, not 5"),
        ('[[rule]]\nfilter = "other/#"', "[[rule]] 1 (other/#): filter: an MQTT filter that begins"),
        ('[[tenant]]\nid = "T"', "[[tenant]] 1 (T): id: 1..32 characters of [a-z0-9-], not 'T'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_table_key_and_what_is_allowed(source: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is tested
        parse(source)
    assert str(caught.value).startswith(said), str(caught.value)
    assert "\n" not in str(caught.value)


EVERYTHING = """
[store]
timezone = "Europe/Berlin"
reserve = { cpu_milli = 500, memory = "1GiB", disk = "2GiB" }
hours = [{ when = "mon-sat 08:00-20:00", reserve = { cpu_milli = 2000 } }]

[[tenant]]
id = "t"
budget = { credit = "100", cpu_core_hour = "0.02", network_gib = "0.05" }
store = true

[tenant.quota]
jobs = 1
cpu_milli = 1
memory = 1
disk = "1TiB"
network_rate = "1Mbit/s"
network_month = "5GiB"
published_ports = 2
mqtt_topics = 3

[[job]]
id = "j"
tenant = "t"
kind = "service"
image = "registry.example/acme/web@sha256:%s"
cpu_milli = 100
memory = "64MiB"
open_files = 64
disk = "1GiB"
io = "20MiB/s"
stop_signal = "INT"
priority = "guaranteed"
warm = 2
health = { tcp = 80, interval = "5s", timeout = "1s", failures = 2, start = "1m" }
update = { healthy = "60s" }
secrets = { DB = { file = "db.pw" }, TOKEN = { env = "TOKEN" } }

[job.network]
egress = ["203.0.113.0/24:443", "udp://time.example:123"]
publish = [8443, { port = 80, job_port = 8080, service = "offload", txt = { v = "1" } }]
peers = true
rate = "5Mbit/s"
month = "1GiB"

[[job.mqtt]]
zone = "shelf-7"
class = "thermometer"
channel = "temperature/#"
commands = ["blink"]

[[job.mqtt]]
device = "gate-1"
commands = ["*"]
""" % ("ab" * 32)


def test_every_key_arrives_in_its_field() -> None:
    wanted = parse(EVERYTHING)
    desired = wanted.desired
    check_desired(desired)
    assert bounds.violation(desired) is None
    assert desired.store.hours[0].reserve.cpu_milli == 2000 and desired.store.reserve.disk_bytes == 2 << 30
    quota, budget = desired.tenants[0].quota, desired.tenants[0].budget
    assert (quota.disk_bytes, quota.network_bits_per_second, quota.network_bytes_per_month) == (1 << 40, 10**6, 5 << 30)
    assert (quota.published_ports, quota.mqtt_topics, desired.tenants[0].store) == (2, 3, True)
    prices = budget.prices
    assert (budget.credit_micro, prices.cpu_core_hour_micro, prices.network_gib_micro) == (
        10**8,
        20_000,
        50_000,
    )
    job = desired.jobs[0]
    assert (job.limits.open_files, job.limits.disk_bytes, job.limits.io_bytes_per_second) == (64, 1 << 30, 20 << 20)
    assert (job.stop_signal, job.priority, job.warm, len(job.command)) == ("INT", PRIORITY_GUARANTEED, 2, 0)
    assert [(e.cidr, e.name, e.port, e.protocol) for e in job.network.egress] == [
        ("203.0.113.0/24", "", 443, "tcp"),
        ("", "time.example", 123, "udp"),
    ]
    assert [(p.port, p.job_port, p.service) for p in job.network.publish] == [(8443, 0, ""), (80, 8080, "offload")]
    assert (job.network.peers, job.network.bits_per_second, job.network.bytes_per_month) == (True, 5_000_000, 1 << 30)
    assert (job.health.tcp_port, job.health.start_seconds, job.update.healthy_seconds) == (80, 60, 60)
    assert list(job.mqtt) == [
        MqttGrant(zone="shelf-7", device_class="thermometer", channel="temperature/#", commands=["blink"]),
        MqttGrant(device="gate-1", commands=["*"]),
    ]
    assert wanted.secrets == {"j": {"DB": Source(file="db.pw"), "TOKEN": Source(env="TOKEN")}}
    assert not job.secrets  # they are sealed for each node


SERVICE = JOB.replace('"batch"', '"service"')


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (JOB + 'image = "debian:12"', '[[job]] 1 (j): image: "host", "REGISTRY/REPOSITORY@sha256:HEX"'),
        (JOB.replace('command = ["true"]', ""), "[[job]] (j): command: is missing; only an OCI image"),
        (JOB + "health = { tcp = 80 }", '[[job]] (j): health and update are for kind = "service"'),
        (JOB + 'mqtt = [{ device = "d", zone = "z", channel = "t" }]',
         "[[job]] 1 (j): mqtt: 1. either device, or zone or class"),
        (JOB + 'mqtt = [{ device = "d" }]', "[[job]] 1 (j): mqtt: 1. channel or commands"),
        (JOB + 'mqtt = [{ device = "d", channel = "a#" }]', "[[job]] 1 (j): mqtt: 1. channel: a topic filter below"),
        (JOB + 'mqtt = [{ device = "d", channel = "cmd/#" }]', "[[job]] 1 (j): mqtt: 1. channel: not below cmd"),
        (JOB + 'mqtt = [{ device = "d", commands = ["a/b"] }]', "[[job]] 1 (j): mqtt: 1. commands: 1. a name of 1..64"),
        (JOB + 'mqtt = [{ device = "d", channel = "t" }]\nsecrets = { mqtt_password = { env = "X" } }',
         "[[job]] (j): secrets: mqtt_password: the node makes it"),
        (SERVICE + "health = { interval = 5 }", "[[job]] (j): health: exactly one of command and tcp"),
        (JOB + 'secrets = { PW = "hunter2" }', "[[job]] 1 (j): secrets: PW: { file = "),
        (JOB + 'secrets = { PW = { value = "hunter2" } }', "[[job]] 1 (j): secrets: PW: { file = "),
        (JOB + 'secrets = { ".x" = { env = "A" } }', "[[job]] 1 (j): secrets: names of 1..64"),
        (JOB + 'network = { egress = ["a.b:1", "x"] }', '[[job]] 1 (j): network: egress: 2. "192.0.2.0/24:443", '),
        (JOB + "network = { publish = [{ prt = 1 }] }", "[[job]] 1 (j): network: publish: 1. unknown key 'prt'; did"),
        (JOB + "network = { publish = [0] }", "[[job]] 1 (j): network: publish: 1. a number in 1..65535"),
        (JOB + 'priority = "high"', "[[job]] 1 (j): priority: one of spot, guaranteed, store"),
        (JOB + 'stop_signal = "KILL"', "[[job]] 1 (j): stop_signal: one of TERM"),
        ('[store]\nreserve = {}\ntimezone = "Mars/Base"', "[store]: timezone: a time zone's name"),
        ("[store]\nhours = []", "[store]: reserve: is missing"),
        ('[store]\nreserve = {}\nhours = [{ when = "x", reserve = {} }]', "[store]: hours: 1. when: "),
        ('[[tenant]]\nid = "t"\nbudget = { credit = 5 }', "[[tenant]] 1 (t): budget: credit: an amount in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_newer_keys_is_told_as_well(source: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is tested
        parse(source)
    assert str(caught.value).startswith(said), str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_files_name_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    for content, said in ((b"a =", "not TOML: "), (b"\xff", "not TOML: "), (b"a = 1", "unknown key 'a'")):
        file.write_bytes(content)
        with pytest.raises(DocumentError) as caught:
            read(file)
        assert str(caught.value).startswith(f"{file}: {said}")
    with pytest.raises(DocumentError, match="No such file"):
        read(tmp_path / "none")
