"""Jobs with image, disk, secret and network: reached, refused, restarted around, cut off, cleaned up after."""

import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, START_TOWN, until
from hil.central import Central
from hil.qmp import Qmp
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import on_site
from tests.registry import image, layer, write_archive

RUNS = "/sys/fs/cgroup/edge.slice/edge-tenants.slice/edge-jobs.service"
SECRET = "hunter2-9f1c77e0"
TOP = """
[store]
reserve = { cpu_milli = 100, memory = "128MiB", disk = "128MiB" }

[[tenant]]
id = "acme"

[tenant.quota]
jobs = 8
cpu_milli = 1500
memory = "512MiB"
disk = "256MiB"
network_rate = "200Mbit/s"
network_month = "10GiB"
published_ports = 4
"""
SHOP = """
echo started >> /work/starts
echo ready
exec /bin/busybox httpd -f -p 8080 -h /work
"""
JOBS = """
[[job]]
id = "shop"
tenant = "acme"
kind = "service"
image = "{digest}"
command = ["/bin/busybox", "sh", "-c", '''{shop}''']
cpu_milli = 200
memory = "64MiB"
pids = 16
disk = "32MiB"
io = "20MiB/s"
restart = {{ mode = "always", backoff = "1s" }}
network = {{ publish = [{{ port = 8080, service = "shop" }}], peers = true }}
health = {{ tcp = 8080, interval = "5s", timeout = "20s", failures = 5, start = "60s" }}
secrets = {{ TOKEN = {{ file = '{secret}' }} }}

[[job]]
id = "caller"
tenant = "acme"
kind = "service"
command = ["sleep", "infinity"]
cpu_milli = 100
memory = "32MiB"
restart = {{ mode = "always", backoff = "1s" }}
network = {{ egress = ["198.51.100.7/32:90"], peers = true }}
"""


@pytest.fixture
def digest(enrolled: Any, central: Central) -> str:
    """Of an image of the board's own busybox, pushed through central by the first who asks."""
    archive = central.directory / "shop.tar"
    if not archive.exists():
        busybox = central.directory / "busybox"
        enrolled.get("/bin/busybox", str(busybox))
        write_archive(image(layer({"bin/busybox": busybox.read_bytes()})), archive)
    until(lambda: central.connected(NODE), "the node to be connected")
    return str(central.ask("image", "push", NODE, str(archive))["digest"])


@pytest.fixture
def applied(central: Central, digest: str) -> None:
    secret = central.directory / "token"
    if not secret.exists():
        secret.write_text(SECRET)
        central.apply(NODE, TOP + JOBS.format(digest=digest, shop=SHOP, secret=secret))


@pytest.fixture
def jobs(enrolled: Any, town: None, applied: None, central: Central) -> dict[str, dict[str, Any]]:  # noqa: ARG001
    """Both, as they run now."""
    until(lambda: states(central) == {"JOB_STATE_RUNNING"} and serves(enrolled), "the jobs to run and answer", 240)
    return {name: on_site(enrolled, name) for name in ("shop", "caller")}


def states(central: Central) -> set[str]:
    return {central.job(NODE, name).get("state", "") for name in ("shop", "caller")}


def fetch(address: str) -> str:
    """A shell command: what the shop tells a till on the LAN."""
    script = f"import urllib.request as u; print(u.urlopen('http://{address}/starts', timeout=20).read().decode())"
    return f'ip netns exec lan python3 -c "{script}"'


def serves(ssh: Any) -> bool:
    return "started" in ssh.run(fetch("192.168.50.1:8080"))[0]


def connects(ssh: Any, where: str, address: str, port: int) -> bool:
    """`where` is what nsenter enters the network of."""
    return bool(ssh.run(f"nsenter {where} timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'")[2] == 0)


def group(ssh: Any, name: str) -> str:
    return str(ssh.run_check(f"ls -d {RUNS}/run-*{name}*/job")[0])


def test_its_limits_are_the_kernels(enrolled: Any, jobs: dict[str, dict[str, Any]]) -> None:
    here = group(enrolled, "shop")

    def read(name: str) -> str:
        return "\n".join(enrolled.run_check(f"cat {here}/{name}"))

    assert {name: read(name) for name in ("memory.oom.group", "memory.swap.max", "pids.max", "cpu.max")} == {
        "memory.oom.group": "1", "memory.swap.max": "0", "pids.max": "16", "cpu.max": "20000 100000",
    }  # fmt: skip
    assert read("memory.max") == str(64 << 20)
    pid = jobs["shop"]["pid"]
    device = enrolled.run_check(f"awk '$5 == \"/work\" {{ print $3 }}' /proc/{pid}/mountinfo")[0]
    assert device.startswith("7:")  # a loop device
    assert f"{device} rbps={20 << 20} wbps={20 << 20} " in f"{read('io.max')} "
    assert read("../monitor/io.max") != ""


def test_every_process_of_a_job_is_confined_by_apparmor(enrolled: Any, jobs: dict[str, dict[str, Any]]) -> None:
    for job in jobs.values():
        assert enrolled.run_check(f"cat /proc/{job['pid']}/attr/current") == ["edge-job (enforce)"]
    assert enrolled.run_check("cat /proc/1/attr/current") == ["unconfined"]


def test_the_lan_reaches_what_is_published_and_nothing_else(enrolled: Any, jobs: dict[str, dict[str, Any]]) -> None:
    lan = "--net=/run/netns/lan"
    assert connects(enrolled, lan, "192.168.50.1", 48731)  # the way is open: a server of the host answers
    assert serves(enrolled)
    assert not connects(enrolled, lan, "192.168.50.1", 1883)
    own = enrolled.run_check(f"nsenter -t {jobs['shop']['pid']} -n ip -4 -o addr show eth0")[0].split()[3]
    assert own.startswith("10.222.")
    assert not connects(enrolled, lan, own.partition("/")[0], 8080)


def test_a_job_reaches_its_list_and_its_peer_and_nothing_else(enrolled: Any, jobs: dict[str, dict[str, Any]]) -> None:
    shop, caller = (f"-t {jobs[name]['pid']} -n" for name in ("shop", "caller"))
    hosts = enrolled.run_check(f"nsenter -t {jobs['caller']['pid']} -m cat /etc/hosts")
    peer = next(line.split()[0] for line in hosts if line.endswith(" shop"))
    assert connects(enrolled, caller, "198.51.100.7", 90)
    assert connects(enrolled, caller, peer, 8080)
    uplink = enrolled.run_check("ip -4 -o route get 8.8.8.8")[0].split("src ")[1].split()[0]
    refused = [
        *(("198.51.100.7", 91), ("198.51.100.8", 90), ("169.254.169.254", 80), ("192.168.50.2", 48731)),
        *((address, port) for address in ("192.168.50.1", uplink, "10.0.2.2") for port in (22, 48731, 1883)),
    ]
    targets = " ".join(f"{address}/{port}" for address, port in refused)
    attempt = f'(nsenter {caller} timeout 4 bash -c "exec 3<>/dev/tcp/$t" 2>/dev/null && echo $t) &'
    assert enrolled.run_check(f"for t in {targets}; do {attempt} done; wait", timeout=120) == []
    assert not connects(enrolled, shop, "198.51.100.7", 90)  # it asked for no egress


def test_a_secret_is_in_its_file_and_nowhere_else(
    enrolled: Any, jobs: dict[str, dict[str, Any]], central: Central
) -> None:
    pid = jobs["shop"]["pid"]
    assert enrolled.run_check(f"nsenter -t {pid} -m /bin/busybox cat /run/secrets/TOKEN") == [SECRET]
    listed = enrolled.run_check(f"nsenter -t {pid} -m /bin/busybox ls -ln /run/secrets/TOKEN")[0].split()
    job_uid = enrolled.run_check(f"stat -c %u /proc/{pid}")[0]
    assert (listed[0], listed[2]) == ("-r--------", job_uid)
    pattern = central.directory / "pattern"  # never in an argument: the search would find itself
    pattern.write_text(f"{SECRET}\n{b64encode(SECRET.encode()).decode()}\n")
    enrolled.put(str(pattern), "/root/pattern")
    kept = "/var/lib/edge-agent /var/lib/edge-launcher /run/edge-agent /run/edge-launcher /run/systemd /var/log /etc"
    # Not the images of file systems: to grep a hole of 4 GiB is one line. What is on its disk is the job's to say.
    found = enrolled.run_check(
        f"grep -rslaF -f /root/pattern --exclude=*.img {kept} /root/pattern || true", timeout=120
    )
    assert found == ["/root/pattern"]  # shows that it would be found
    assert enrolled.run("grep -slaF -f /root/pattern /proc/[0-9]*/cmdline /proc/[0-9]*/environ")[0] == []
    assert enrolled.run("journalctl -a --no-pager -o export | grep -aF -f /root/pattern")[::2] == ([], 1)
    assert SECRET not in json.dumps([central.ask("jobs", NODE), central.ask("logs", NODE, "shop")])


def test_a_disk_outlives_its_run(enrolled: Any, jobs: dict[str, dict[str, Any]], central: Central) -> None:
    before = starts(enrolled)
    enrolled.run_check(f"kill -KILL {jobs['shop']['pid']}")
    until(lambda: central.job(NODE, "shop")["attempt"] > jobs["shop"]["attempt"] and serves(enrolled), "the next run")
    assert starts(enrolled) == before + 1


def starts(ssh: Any) -> int:
    return ssh.run_check(fetch("192.168.50.1:8080")).count("started")


BOTH = "edge-agent edge-launcher"


@pytest.mark.expects("edge-agent.service", "edge-launcher.service")
@pytest.mark.parametrize(
    ("how", "units"),
    [("systemctl restart", "edge-launcher"), ("systemctl restart", BOTH), ("systemctl kill -s KILL", BOTH)],
)
def test_jobs_and_their_networks_outlive(
    how: str, units: str, enrolled: Any, jobs: dict[str, dict[str, Any]], central: Central
) -> None:
    before = [enrolled.run_check(f"systemctl show -P MainPID {unit}") for unit in units.split()]
    enrolled.run_check(f"{how} {units}", timeout=120)
    assert serves(enrolled)  # at once, whoever is away
    until(lambda: back(enrolled, units, before), f"{units} to be back")
    until(lambda: central.connected(NODE) and states(central) == {"JOB_STATE_RUNNING"}, "the jobs at central")
    for name, job in jobs.items():
        after = on_site(enrolled, name)
        assert (after["pid"], after["attempt"]) == (job["pid"], job["attempt"])
    assert serves(enrolled)
    assert connects(enrolled, f"-t {jobs['caller']['pid']} -n", "198.51.100.7", 90)
    assert not connects(enrolled, f"-t {jobs['caller']['pid']} -n", "198.51.100.7", 91)


def back(ssh: Any, units: str, before: list[list[str]]) -> bool:
    now = [ssh.run_check(f"systemctl show -P MainPID {unit}") for unit in units.split()]
    new = all(one not in (other, ["0"]) for one, other in zip(now, before, strict=True))
    return new and set(ssh.run(f"systemctl is-active {units}")[0]) == {
        "active"
    }  # its exit code is 0 when one of them is


@pytest.mark.lg_feature("power-cut")
@pytest.mark.timeout(600)
def test_a_cold_boot_without_a_wan_starts_what_was_desired(
    board: Any,
    enrolled: Any,
    jobs: dict[str, dict[str, Any]],
    env: Any,
    times: dict[str, float],
    central: Central,
) -> None:
    runs = starts(enrolled)
    enrolled.run_check("sync /root/town.py")
    board.cut_power()
    board.power.on()
    since = time.monotonic()
    with Qmp(Path(env.config.data["options"]["qmp_socket"])) as cable:
        cable.command("set_link", name="net0", up=False)
        shell = board.console()
        shell.run_check(START_TOWN)
        until(lambda: runs_again(shell), "the jobs to run again, and to answer", 240)
        times["power back to jobs running, without WAN"] = time.monotonic() - since
        away = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{central.address}/{central.enrol_port}'"
        assert shell.run(away)[2] != 0
        lines = starts(shell)
        # ext4's own words, had it been mounted as the power cut left it: e2fsck came first.
        assert "recovery complete" not in "\n".join(shell.run_check("dmesg | grep loop || true"))
        cable.command("set_link", name="net0", up=True)
    board.arrive()
    assert lines == runs + 1
    until(lambda: central.connected(NODE) and states(central) == {"JOB_STATE_RUNNING"}, "the jobs at central", 180)
    assert central.job(NODE, "shop")["attempt"] > jobs["shop"]["attempt"]


def runs_again(shell: Any) -> bool:
    out, _, code = shell.run("edge-agent jobs --json")
    if code != 0:
        return False
    found = json.loads("\n".join(out))["jobs"]
    running = {job["id"] for job in found if job["state"] == "JOB_STATE_RUNNING"}
    return running == {"shop", "caller"} and serves(shell)


LEFT: dict[str, str] = {
    "cgroups": f"ls -d {RUNS}/run-* 2>/dev/null",
    "interfaces": "ip -o link | grep -F ' ej-'",
    "rules": "nft list table inet edge_jobs | grep -E -e 'ej-[0-9]' -e '10[.]222[.][0-9]+[.][1-9]' -e 8080",
    "loop devices": "losetup -l -n | grep -F -e /disks/",
    "mounts": "cat /proc/[0-9]*/mountinfo 2>/dev/null | grep -F -e /run/edge-launcher/ | grep -vF host-netns",
    "namespaces": "lsns -n -t net -o COMMAND | grep -F -e sleep -e busybox",
    "files": "find /run/edge-launcher/netns /run/edge-launcher/hosts /run/edge-launcher/secrets -type f",
    "runs": "ls /var/lib/edge-launcher/runs",
    "disks": "find /var/lib/edge-launcher/disks -type f",
}


def test_nothing_is_left_of_jobs_that_were_withdrawn(
    enrolled: Any, jobs: dict[str, dict[str, Any]], central: Central
) -> None:
    central.apply(NODE, TOP)
    until(lambda: not listed(enrolled), "the jobs to be gone", 120)
    until(lambda: not left(enrolled), "everything of them to be gone", 60)
    for job in jobs.values():
        enrolled.run_check(f"! test -d /proc/{job['pid']}")


def listed(ssh: Any) -> list[Any]:
    """On the board: central goes on telling how withdrawn jobs ended."""
    return list(json.loads("\n".join(ssh.run_check("edge-agent jobs --json", timeout=COMMAND_SECONDS))).get("jobs", []))


def left(ssh: Any) -> dict[str, list[str]]:
    found = {what: ssh.run(command)[0] for what, command in LEFT.items()}
    return {what: lines for what, lines in found.items() if lines}
