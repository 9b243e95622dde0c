"""systemd/: the units are sound and hardened, the default configuration is the schema's, install installs."""

import inspect
import re
import shutil
import subprocess
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest

from agent.cli import enrol_file
from agent.config.load import load, parse
from agent.config.schema import Config, allowed_text
from agent.identity import lock
from agent.launcher import policy
from agent.mqtt.wire.line import MOST, RECEIVE_BUFFER_BYTES
from agent.runtime.serve import serve
from agent.telemetry.collectors import COLLECTORS

SYSTEMD = Path(__file__).parents[1] / "systemd"
# The most exposure, of 10, that systemd may see. That jobs run under these very units: hil/suite/test_22_units.py.
SERVICES = {
    "edge-agent": 1.4, "edge-gateway": 1.3, "edge-launcher": 4.3, "edge-jobs": 1.2, "edge-enrol": 2.9,
    "edge-agent-key": 1.7,
}  # fmt: skip
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def directives(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


# --- units -----------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs that exist here."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in [path for kind in ("service", "socket", "path", "slice") for path in SYSTEMD.glob(f"*.{kind}")]:
        text = re.sub(r"^(Exec\w+)=/usr/(bin|lib)/\S+", r"\1=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (folder / unit.name).write_text(text)
    # Debian's, as far as the drop-in builds on it.
    (folder / "mosquitto.service").write_text("[Service]\nType=notify\nExecStart=/bin/true\n")
    (folder / "mosquitto.service.d").mkdir()
    shutil.copy(SYSTEMD / "mosquitto.service.d/edge-agent.conf", folder / "mosquitto.service.d")
    return folder


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_units(units: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(str(path) for path in units.iterdir() if path.is_file())],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "edge-" in line or "mosquitto" in line]
    assert said == [], done.stderr


@needs_systemd
@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_gets_no_more_exposed(service: str, units: Path) -> None:
    most = f"--threshold={round(SERVICES[service] * 10)}"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", most, str(units / f"{service}.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agent_has_no_capability_and_systemd_watches_it() -> None:
    unit = directives("edge-agent.service")
    assert (unit["User"], unit["CapabilityBoundingSet"], unit["AmbientCapabilities"]) == (["edge-agent"], [""], [""])
    assert (unit["Type"], unit["WatchdogSec"], unit["StartLimitIntervalSec"]) == (["notify"], ["30"], ["0"])
    assert "GRPC_ENABLE_FORK_SUPPORT=0" in unit["Environment"]
    assert unit["FileDescriptorStoreMax"] == [str(MOST)]


def test_the_launcher_has_no_network_and_passes_no_hindrance_on_to_jobs() -> None:
    unit = directives("edge-launcher.service")
    assert (unit["PrivateNetwork"], unit["IPAddressDeny"]) == (["yes"], ["any"])
    # Seccomp filters are inherited: a job needs its loopback, and a just-in-time compiler its memory.
    assert {"AF_INET", "AF_INET6"} <= set(unit["RestrictAddressFamilies"][0].split())
    # An image's setuid files are unpacked by a child: without effect in a run, but there.
    assert not {"MemoryDenyWriteExecute", "RestrictSUIDSGID"} & set(unit)


def test_the_launcher_reaches_this_machines_network_by_a_file_that_it_holds() -> None:
    unit = directives("edge-launcher.service")
    assert "--netns /run/edge-launcher/host-netns " in unit["ExecStart"][0]
    # Seen on systemd 252: without nsenter the mount is gone with the command, whatever "+" says.
    assert unit["ExecStartPre"][0].startswith("+/usr/bin/nsenter --mount=/proc/1/ns/mnt ")
    assert "/proc/1/ns/net" in unit["ExecStartPre"][0]


def test_loop_devices_are_known_to_the_kernel_before_the_launcher_is_allowed_them() -> None:
    assert "block-loop rw" in directives("edge-launcher.service")["DeviceAllow"]
    assert "loop" in (SYSTEMD / "modules.conf").read_text().splitlines()


def test_jobs_have_a_cgroup_that_is_not_the_launchers() -> None:
    jobs = directives("edge-jobs.service")
    assert "Delegate" in jobs
    unit = directives("edge-launcher.service")
    assert "Delegate" not in unit
    assert unit["BindsTo"] == ["edge-jobs.service"]
    # Asked for at each start: that of an upgraded machine is still where the release before had it.
    assert '--cgroup "$$(systemctl show -P ControlGroup edge-jobs.service)"' in unit["ExecStart"][0]
    assert unit["ExecStart"][0].startswith("/bin/sh -c 'exec ")  # else systemd would watch a shell


def test_tenants_as_a_whole_stand_back_behind_the_stores_own_services() -> None:
    assert directives("edge-jobs.service")["Slice"] == ["edge-tenants.slice"]
    # "-" is a level: what stands beside system.slice, which has 100, is edge.slice.
    outer, tenants = directives("edge.slice"), directives("edge-tenants.slice")
    assert int(outer["CPUWeight"][0]) <= 25 and int(outer["IOWeight"][0]) <= 25
    assert (tenants["MemoryHigh"], tenants["MemoryMax"], tenants["MemorySwapMax"]) == (["85%"], ["90%"], ["0"])
    assert tenants["TasksMax"] == ["50%"]


def test_what_the_stores_own_parts_run_in_is_kept_in_memory_and_their_slice_vouches_for_all_of_it() -> None:
    units = ("edge-agent.service", "edge-launcher.service", "mosquitto.service.d/edge-agent.conf")
    kept = [int(directives(unit)["MemoryMin"][0].removesuffix("M")) for unit in units]
    # A unit's counts no further than its slice's; what a unit doesn't use is everybody's.
    assert sum(kept) == int(directives("system.slice.d/edge-agent.conf")["MemoryMin"][0].removesuffix("M"))


def test_the_cgroup_of_jobs_denies_them_nothing_that_the_unit_does() -> None:
    """Devices and addresses are denied by cgroup, so to every job as well."""
    unit = directives("edge-jobs.service")
    of_the_cgroup = {"PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "IPAddressDeny"}
    assert not of_the_cgroup & set(unit) and "User" not in unit


@pytest.mark.parametrize("service", ["edge-agent", "edge-launcher"])
def test_a_stop_takes_ten_seconds_at_most(service: str) -> None:
    assert directives(f"{service}.service")["TimeoutStopSec"] == ["10"]
    grace = inspect.signature(serve).parameters["grace_seconds"].default
    assert grace <= 6.0  # and then the spool is closed and the interpreter ends


def test_a_key_is_locked_where_the_machine_can_and_its_absence_is_no_fault() -> None:
    # A name without a path may be missing (systemd.exec(5)); systemd looks where lock.py puts it.
    assert directives("edge-agent.service")["LoadCredentialEncrypted"] == [lock.NAME]
    assert f"d {lock.FILE.parent} 0700 root root -" in (SYSTEMD / "tmpfiles.conf").read_text()
    for unit in ("edge-agent-key.service", "edge-enrol.service"):
        assert str(lock.FILE.parent) in (SYSTEMD / unit).read_text()
        assert "char-tpm rw" in directives(unit)["DeviceAllow"]


def test_a_stick_is_looked_at_only_by_a_box_that_is_not_enrolled_and_by_no_driver_but_fats() -> None:
    unit, rule = directives("edge-enrol.service"), (SYSTEMD / "70-edge-enrol.rules").read_text().splitlines()[-1]
    assert unit["ConditionPathExists"][0] == "|!/var/lib/edge-agent/identity/current"
    assert {f"|{folder}/{enrol_file.NAME}" for folder in ("/boot", "/boot/firmware", "/boot/efi")} == set(
        unit["ConditionPathExists"][1:]
    )
    assert 'ENV{ID_BUS}=="usb", ENV{ID_FS_TYPE}=="vfat"' in rule
    assert 'SYMLINK+="edge-enrol/%k", TAG+="systemd", ENV{SYSTEMD_WANTS}+="edge-enrol.service"' in rule
    script = (SYSTEMD / "bin/edge-first-boot").read_text()
    assert f"name={enrol_file.NAME}\n" in script and f"head -c {enrol_file.MAX_BYTES + 1} " in script
    assert "mount -t vfat -o ro,nosuid,nodev,noexec " in script
    assert unit["PrivateMounts"] == ["yes"]


def test_a_reload_looks_at_the_file_before_the_agent_does() -> None:
    """A wrong file is the answer to whoever asked; systemd then goes no further."""
    assert directives("edge-agent.service")["ExecReload"] == [
        "/usr/bin/edge-agent config check /etc/edge-agent/agent.toml",
        "/bin/kill -HUP $MAINPID",
    ]


def test_the_socket_is_where_the_agent_looks_for_it() -> None:
    socket = directives("edge-launcher.socket")
    assert socket["ListenSequentialPacket"] == [str(Config().jobs.launcher_socket)]
    assert (socket["SocketGroup"], socket["SocketMode"]) == (["edge-agent"], ["0660"])


# --- the broker ------------------------------------------------------------------------------------


def broker_settings() -> list[list[str]]:
    lines = (SYSTEMD / "mosquitto.conf").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_nobody_reaches_the_broker_without_a_name_and_no_session_but_its_own() -> None:
    settings = broker_settings()
    assert ["allow_anonymous", "false"] in settings
    assert ["plugin", "mosquitto_dynamic_security.so"] in settings
    listeners: list[list[list[str]]] = []
    for words in settings:
        if words[0] == "listener":
            listeners.append([])
        if listeners:
            listeners[-1].append(words)
    assert [words[0][1:] for words in listeners] == [
        ["1883", "127.0.0.1"], ["0", "/run/edge-broker/jobs/broker.sock"], ["8883"], ["8884"],
    ]  # fmt: skip
    assert all(["use_username_as_clientid", "true"] in words for words in listeners)
    assert [words for words in listeners[2] if words[0].startswith(("require", "use_identity"))] == [
        ["require_certificate", "true"],
        ["use_identity_as_username", "true"],
    ]
    assert all(["tls_version", "tlsv1.2"] in words for words in listeners[2:])


def test_neither_a_job_nor_the_stores_network_takes_all_of_the_broker() -> None:
    """Its memory, its open files, and sessions that nobody comes back to."""
    text = (SYSTEMD / "mosquitto.conf").read_text()
    most = sum(int(number) for number in re.findall(r"^max_connections (\d+)$", text, re.MULTILINE))
    own, *others = re.split(r"^listener ", text, flags=re.MULTILINE)[1:]
    assert len(others) == 3 and "max_connections" not in own and all("\nmax_connections " in each for each in others)
    assert most + 1000 < int(directives("mosquitto.service.d/edge-agent.conf")["LimitNOFILE"][0])
    # By its unit: with the plugin, mosquitto 2.0 miscounts its own memory, and then refuses everybody.
    assert directives("mosquitto.service.d/edge-agent.conf")["MemoryMax"] == ["512M"]
    assert "\nmemory_limit" not in text
    assert re.search(r"^persistent_client_expiration [1-9]", text, re.MULTILINE)


def test_the_broker_starts_from_what_the_agent_knows_and_never_stops_trying() -> None:
    unit = directives("mosquitto.service.d/edge-agent.conf")
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert "edge-agent broker prepare | setpriv --reuid=mosquitto " in unit["ExecStartPre"][0]
    # Root follows no path that somebody else can make a link of.
    assert unit["ExecStartPost"][0].startswith("/usr/bin/setpriv --reuid=mosquitto ")


def test_the_directories_of_the_broker_are_what_its_configuration_and_the_agents_name() -> None:
    made = {words[1]: words[2:5] for line in (SYSTEMD / "tmpfiles.conf").read_text().splitlines()
            if (words := line.split()) and words[0] == "d"}  # fmt: skip
    assert made[str(Config().mqtt.broker_dir)] == ["2750", "edge-agent", "mosquitto"]
    paths = [words[-1] for words in broker_settings() if words[-1].startswith("/")]
    assert {str(Path(path).parent) for path in paths} == set(made) & {
        "/var/lib/edge-broker", "/run/edge-broker/jobs", "/run/edge-broker/state",
    }  # fmt: skip
    assert made["/run/edge-broker"] == ["0750", "root", "mosquitto"]
    assert made["/run/edge-broker/state"] == ["0700", "mosquitto", "mosquitto"]
    for word in ("reload", "restart"):
        assert directives(f"edge-broker-{word}.path")["PathChanged"] == [f"{Config().mqtt.broker_dir}/{word}"]
    assert directives("edge-agent.service")["ReadWritePaths"] == [f"-{Config().mqtt.broker_dir}"]


# --- configuration ---------------------------------------------------------------------------------


def documented() -> dict[tuple[str, str], str]:
    """Commented-out keys of agent.toml, each with the comment above it."""
    found: dict[tuple[str, str], str] = {}
    section, comment = "", ""
    for line in (SYSTEMD / "agent.toml").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif key := re.match(r"#(\w+) = ", line):
            found[section, key[1]] = comment
            comment = ""
            continue
        comment = f"{comment} {line[1:].strip()}" if line.startswith("# ") else ""
    return found


def test_the_default_file_documents_exactly_the_keys_that_exist() -> None:
    schema = {(section.name, key.name) for section in fields(Config) for key in fields(getattr(Config(), section.name))}
    assert set(documented()) == schema


@pytest.mark.parametrize("section", [section.name for section in fields(Config)])
def test_each_comment_says_what_the_key_takes(section: str) -> None:
    comments = documented()
    for key in fields(getattr(Config(), section)):
        comment = comments[section, key.name]
        words = re.findall(r"'\w+'", allowed_text(key)) or [allowed_text(key)]
        assert comment, key.name
        assert all(word in comment for word in words), f"{key.name}: {allowed_text(key)}"


def test_all_collectors_are_named() -> None:
    comment = documented()["telemetry", "disabled"]
    assert set(re.findall(r"\w+", comment.partition(":")[2])) == set(COLLECTORS)


def test_the_default_file_changes_no_default() -> None:
    assert load(SYSTEMD / "agent.toml") == Config()


def test_what_it_shows_as_default_is_the_default() -> None:
    text = (SYSTEMD / "agent.toml").read_text()
    shown = re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)
    without_secrets = re.sub(r"^auth_file = .*$", "", shown, flags=re.MULTILINE)
    assert parse(without_secrets, "agent.toml") == Config()
    parse(shown, "agent.toml")  # the examples of files with secrets are valid ones


def test_the_launchers_policy_file_is_valid_and_shows_the_defaults() -> None:
    text = (SYSTEMD / "launcher.toml").read_text().replace('agent_user = "edge-agent"', "agent_uid = 4711")
    import tomllib

    plain = policy.parse(tomllib.loads(text), "launcher.toml")
    shown = policy.parse(tomllib.loads(re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)), "launcher.toml")
    assert plain == shown == policy.Policy(agent_uid=4711)


# --- install ---------------------------------------------------------------------------------------


def make_wheelhouse(folder: Path, version: str) -> Path:
    """A release with nothing in it but `agent`, which says its version."""
    folder.mkdir()
    wheel = folder / f"store_edge_agent-{version}-py3-none-any.whl"
    info = f"store_edge_agent-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("agent/__init__.py", "")
        archive.writestr("agent/__main__.py", f"print({version!r})\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: store-edge-agent\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of another machine, with the packages that install asks for."""
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    for name in ("mosquitto", "conmon", "catatonit", "crun", "nft", "tc", "mkfs.ext4", "skopeo", "umoci"):
        (root / "usr/bin" / name).touch()
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (units / "mosquitto.service").write_text("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
    return root


def install(root: Path, wheelhouse: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SYSTEMD / "install", "--root", root, "--wheelhouse", wheelhouse], capture_output=True, text=True, check=False
    )


def listing(root: Path) -> dict[str, tuple[int, str]]:
    """Every file with its time of change, every link with its target."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mtime_ns, str(path.readlink()) if path.is_symlink() else "")
        for path in root.rglob("*")
        if path.is_symlink() or (path.is_file() and "/opt/" in f"{path}/")
    }


needs_install = pytest.mark.skipif(
    not list(Path("/usr/share/python-wheels").glob("pip-*.whl")) or shutil.which("systemctl") is None,
    reason="python3-venv and systemd are not installed",
)


@needs_install
def test_a_release_is_installed_and_upgraded_and_configuration_stays(machine: Path, tmp_path: Path) -> None:
    opt = machine / "opt/store-edge-agent"
    first = install(machine, make_wheelhouse(tmp_path / "first", "1.0.0"))
    assert first.returncode == 0, first.stderr
    assert (opt / "current").readlink().name.startswith("1.0.0-")
    said = subprocess.run([opt / "current/bin/python", "-I", "-m", "agent"], capture_output=True, text=True, check=True)
    assert said.stdout == "1.0.0\n"
    for name in (
        "edge-agent.service", "edge-launcher.service", "edge-launcher.socket", "edge-jobs.service",
        "edge-broker-reload.path", "mosquitto.service.d/edge-agent.conf",
    ):  # fmt: skip
        assert (machine / "usr/lib/systemd/system" / name).read_bytes() == (SYSTEMD / name).read_bytes()
    assert (machine / "etc/systemd/system/multi-user.target.wants/edge-agent.service").is_symlink()
    sysctl = (machine / "usr/lib/sysctl.d/60-edge-agent.conf").read_text()
    assert f"net.core.rmem_max = {RECEIVE_BUFFER_BYTES}\n" in sysctl
    assert "/opt/store-edge-agent/current/bin/python -I -m agent " in (machine / "usr/bin/edge-agent").read_text()

    (machine / "etc/edge-agent/agent.toml").write_text("# mine\n")
    (machine / "etc/mosquitto/conf.d/edge-agent.conf").write_text("listener 1883\n")
    second = install(machine, make_wheelhouse(tmp_path / "second", "1.1.0"))
    assert second.returncode == 0, second.stderr
    assert (opt / "current").readlink().name.startswith("1.1.0-")
    assert (opt / "previous").readlink().name.startswith("1.0.0-")
    assert (machine / "etc/edge-agent/agent.toml").read_text() == "# mine\n"
    # Who may connect is not left to a file of before.
    broker = machine / "etc/mosquitto/conf.d/edge-agent.conf"
    assert broker.read_bytes() == (SYSTEMD / "mosquitto.conf").read_bytes()
    assert broker.with_name("edge-agent.conf.before").read_text() == "listener 1883\n"

    third = install(machine, make_wheelhouse(tmp_path / "third", "1.2.0"))
    assert third.returncode == 0, third.stderr
    assert sorted(path.name.split("-")[0] for path in opt.iterdir() if not path.is_symlink()) == ["1.1.0", "1.2.0"]


@needs_install
def test_installing_the_same_again_changes_nothing(machine: Path, tmp_path: Path) -> None:
    wheelhouse = make_wheelhouse(tmp_path / "wheels", "1.0.0")
    assert install(machine, wheelhouse).returncode == 0
    before = listing(machine)
    assert install(machine, wheelhouse).returncode == 0
    assert listing(machine) == before
    assert before


def test_missing_packages_are_named_before_anything_is_touched(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    done = install(root, make_wheelhouse(tmp_path / "wheels", "1.0.0"))
    assert done.returncode == 1
    packages = "mosquitto conmon catatonit nftables iproute2 e2fsprogs skopeo umoci crun"
    assert f"apt-get install {packages}\n" in done.stderr
    assert list(root.iterdir()) == []


@needs_install
def test_a_wheelhouse_without_the_agent_is_refused(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    done = install(machine, tmp_path / "wheels")
    assert done.returncode == 1
    assert "no store_edge_agent-*.whl" in done.stderr
    assert not (machine / "opt").exists()
