from pathlib import Path

import pytest

from central.cli.document import DocumentError, parse, read
from central.desired import check as check_desired
from storeedge.v1.desired_pb2 import JOB_KIND_BATCH, RESIDENCY_STORE, RESTART_MODE_ON_FAILURE

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


def test_the_files_name_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    for content, said in ((b"a =", "not TOML: "), (b"\xff", "not TOML: "), (b"a = 1", "unknown key 'a'")):
        file.write_bytes(content)
        with pytest.raises(DocumentError) as caught:
            read(file)
        assert str(caught.value).startswith(f"{file}: {said}")
    with pytest.raises(DocumentError, match="No such file"):
        read(tmp_path / "none")
