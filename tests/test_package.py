"""deb/: the package is what the checkout and the lock say, the same each time, and dpkg takes it up, down and away."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deb import build, tree, wheels

TOP = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the package holds bytecode of Python 3.11"),
]
RELEASE = "usr/lib/store-edge-agent/release"
SITE = f"{RELEASE}/lib/python3.11/site-packages"
OPT = Path("opt/store-edge-agent")
SOON = "9.9.9"  # a version above this checkout's


@pytest.fixture(scope="session")
def kept() -> Path:
    """The wheels of amd64 are in it."""
    try:
        wheels.fetch("amd64", wheels.cache())
    except subprocess.CalledProcessError:
        pytest.skip("no package index, and no wheels of an earlier build")
    return wheels.cache()


@pytest.fixture(scope="session")
def package(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build("amd64", tmp_path_factory.mktemp("deb"), kept=kept, level=0)


@pytest.fixture(scope="session")
def newer(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build("amd64", tmp_path_factory.mktemp("deb"), kept=kept, version=SOON, level=0)


@pytest.fixture(scope="session")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files, and DEBIAN/."""
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    return folder


# --- the lock --------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", wheels.MACHINES)
def test_the_lock_is_what_pyproject_asks_for(architecture: str) -> None:
    locked = {wheel.name: wheel.version for wheel in wheels.read(architecture)}
    for wanted in map(Requirement, wheels.dependencies()):
        assert wanted.specifier.contains(locked[wanted.name]), f"{wanted}: ./dev package --lock"


def test_both_architectures_have_the_same_versions() -> None:
    one, other = ([(w.name, w.version) for w in wheels.read(name)] for name in wheels.MACHINES)
    assert one == other


def test_the_lock_holds_all_that_the_wheels_ask_for_and_nothing_else(unpacked: Path) -> None:
    asked = set()
    for metadata in (unpacked / SITE).glob("*.dist-info/METADATA"):
        for line in re.findall(r"^Requires-Dist: (.+)$", metadata.read_text().partition("\n\n")[0], re.MULTILINE):
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                asked.add(canonicalize_name(wanted.name))
    direct = {canonicalize_name(Requirement(line).name) for line in wheels.dependencies()}
    assert {wheel.name for wheel in wheels.read("amd64")} == asked | direct


def test_a_wheel_that_is_not_the_locks_is_refused(kept: Path, tmp_path: Path) -> None:
    good = wheels.fetch("amd64", kept)[0].parent
    bad = tmp_path / good.name
    shutil.copytree(good, bad)
    wheel = next(bad.glob("h11-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(wheels.WheelError, match="is not what"):
        wheels.fetch("amd64", tmp_path)


def test_each_wheels_licence_is_told() -> None:
    told = (TOP / "deb/copyright").read_text()
    names = [wheel.name.replace("-", "_") for wheel in wheels.read("amd64")]
    assert [name for name in names if f"/{name.partition('_')[0]}" not in told] == []


# --- what is in it ---------------------------------------------------------------------------------


def test_it_is_bit_for_bit_the_same_wherever_it_is_built(
    package: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = os.umask(0o077)
    try:
        again = build.build("amd64", tmp_path / "out", kept=kept, level=0)
    finally:
        os.umask(before)
    assert again.name == package.name
    assert again.read_bytes() == package.read_bytes()


def test_every_file_of_the_units_is_listed_and_in_the_package(unpacked: Path) -> None:
    folder = TOP / "systemd"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files - {"install", "placed", "steps.sh"} == {entry.file for entry in tree.placed()}
    for entry in tree.placed():
        ours = entry.place.startswith("/usr/")
        inside = unpacked / (entry.place.lstrip("/") if ours else f"usr/share/store-edge-agent/{entry.file}")
        assert inside.read_bytes() == (folder / entry.file).read_bytes()
        assert ours == (entry.kind not in ("etc", "aside", "once"))


def test_nothing_is_where_packages_have_no_business(unpacked: Path) -> None:
    """No conffile either: dpkg would ask about one that was changed, and nobody stands in front of a store's box."""
    assert {path.name for path in unpacked.iterdir()} == {"DEBIAN", "usr"}
    assert not (unpacked / "DEBIAN/conffiles").exists()


def test_the_release_is_the_agent_with_its_wheels_and_their_bytecode(unpacked: Path) -> None:
    site = unpacked / SITE
    for source in (TOP / "agent").rglob("*.py"):
        assert (site / "agent" / source.relative_to(TOP / "agent")).read_bytes() == source.read_bytes()
    assert not (site / "central").exists()
    compiled = {path.name.split(".")[0] for path in (site / "agent").glob("__pycache__/*.pyc")}
    assert compiled == {path.stem for path in (site / "agent").glob("*.py")}
    python, code = (
        unpacked / RELEASE / "bin/python",
        "import agent.app, grpc, cryptography.x509, sys; print(sys.prefix)",
    )
    said = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(unpacked / RELEASE)


def test_it_needs_the_packages_that_install_asks_for(unpacked: Path) -> None:
    control = (unpacked / "DEBIAN/control").read_text()
    depends = set(re.findall(r"[a-z0-9.+-]+(?= \(|,| \||$)", re.findall(r"^Depends: (.+)$", control, re.MULTILINE)[0]))
    asked = re.findall(r"[a-z.0-9]+:([a-z0-9]+)", (TOP / "systemd/install").read_text())
    assert {"mosquitto", "umoci", "iproute2"} <= set(asked) <= depends
    assert {"crun", "runc", "python3"} <= depends


def test_the_maintainer_scripts_are_sound(unpacked: Path) -> None:
    scripts = [str(unpacked / "DEBIAN" / name) for name in ("preinst", "postinst", "prerm", "postrm")]
    done = subprocess.run(
        ["shellcheck", "-x", TOP / "systemd/steps.sh", *scripts], capture_output=True, text=True, check=False, cwd=TOP
    )
    assert done.returncode == 0, done.stdout
    for script in scripts:
        text = Path(script).read_text()
        assert "\nset -e\n" in text and "@" not in re.sub(r'"\$@"', "", text), script


def test_the_arm64_lock_has_no_wheel_of_another_machine() -> None:
    files = [wheel.file for wheel in wheels.read("arm64")]
    assert all(file.endswith(("aarch64.whl", "-none-any.whl")) for file in files)
    assert any(file.startswith("grpcio-") and file.endswith("aarch64.whl") for file in files)


# --- dpkg, on a machine without a running systemd --------------------------------------------------


class Machine:
    """This machine's packages in a tree of its own: what is written stays in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        lay = (
            'mount -t tmpfs none "$0" && mkdir "$0/up" "$0/work" "$0/root" &&'
            ' mount -t overlay none -o "lowerdir=/,upperdir=$0/up,workdir=$0/work" "$0/root" &&'
            ' mount --rbind /proc "$0/root/proc" && mount --rbind /dev "$0/root/dev" &&'
            ' mount -t tmpfs none "$0/root/tmp" && mount -t tmpfs none "$0/root/run" &&'
            " echo ready && exec sleep infinity"
        )
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", lay, str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != "ready\n":
            self.close()
            pytest.skip(f"no overlay of /: {said.strip()}")
        self.root = Path(f"/proc/{self._holder.pid}/root") / folder.relative_to("/") / "root"

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "chroot", str(self._chroot), *argv]
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            inside, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
        )

    def dpkg(self, *words: str | Path) -> str:
        done = self.run("dpkg", *map(str, words))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, package: Path) -> str:
        shutil.copy(package, self.root / "root")
        return self.dpkg("--install", f"/root/{package.name}")

    def kill(self) -> None:
        """All that runs in it."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "root").readlink() == self._chroot:
                    os.kill(int(process.name), signal.SIGKILL)

    def listing(self) -> set[str]:
        """Everything of ours."""
        found = self.run("find", "/etc", "/opt", "/run", "/usr", "/var/lib", "-xdev", "-name", "*edge-*").stdout.split()
        return {path for path in found if not path.startswith(("/usr/share/", "/usr/include", "/usr/lib/python"))}

    @property
    def _chroot(self) -> Path:
        return Path("/", *self.root.parts[4:])

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0 or subprocess.run(["dpkg", "-s", "umoci"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and Debian with the packages that the agent needs")
    made = Machine(tmp_path / "machine")
    yield made
    made.close()


def current(machine: Machine) -> Path:
    return machine.root / OPT / (machine.root / OPT / "current").readlink()


@pytest.mark.root
def test_it_is_installed_upgraded_and_taken_back(machine: Machine, package: Path, newer: Path) -> None:
    machine.install(package)
    assert machine.run("edge-agent", "--version").stdout.strip() == tree.version()
    for unit in ("multi-user.target.wants/edge-agent.service", "sockets.target.wants/edge-launcher.socket"):
        assert (machine.root / "etc/systemd/system" / unit).is_symlink()
    before = current(machine)
    module = "lib/python3.11/site-packages/h11/__init__.py"
    assert (before / module).samefile(machine.root / RELEASE / module)  # once on the disk
    held = (before / module).stat().st_ino
    (machine.root / "etc/edge-agent/agent.toml").write_text("# mine\n")
    assert machine.run("systemctl", "disable", "edge-agent.service").returncode == 0

    machine.install(newer)
    assert machine.run("edge-agent", "--version").stdout.strip() == SOON
    assert (machine.root / OPT / "previous").readlink().name == before.name
    assert (before / module).stat().st_ino == held  # an agent that runs still has its files
    assert (machine.root / "etc/edge-agent/agent.toml").read_text() == "# mine\n"
    assert not (machine.root / "etc/systemd/system/multi-user.target.wants/edge-agent.service").is_symlink()

    machine.install(package)
    assert machine.run("edge-agent", "--version").stdout.strip() == tree.version()
    assert current(machine).name == before.name
    assert (current(machine) / module).samefile(machine.root / RELEASE / module)
    assert sorted(path.name for path in (machine.root / OPT).iterdir() if not path.is_symlink()) == sorted(
        [before.name, (machine.root / OPT / "previous").readlink().name]
    )


@pytest.mark.root
def test_dpkg_killed_at_any_moment_leaves_a_release_that_runs(machine: Machine, package: Path, newer: Path) -> None:
    """And is finished by the next try. With the supply itself: hil/suite/test_10_package.py."""
    machine.install(package)
    since = time.monotonic()
    machine.install(newer)
    whole = time.monotonic() - since
    versions = {package: tree.version(), newer: SOON}
    for part in (4, 5, 8):  # ninths of an installation; each of the others was seen to pass as well
        wanted = (package, newer)[part % 2]
        killed = machine.run(
            "timeout", "-s", "KILL", f"{whole * part / 9:.2f}", "dpkg", "--install", f"/root/{wanted.name}"
        )
        machine.kill()  # what dpkg had started would go on; a power cut takes it, too
        everything = "import agent.app, agent.launcher.command_line, grpc, cryptography.x509, zeroconf"
        done = machine.run("/opt/store-edge-agent/current/bin/python", "-I", "-c", everything)
        assert done.returncode == 0, (part, killed, done.stderr)
        assert machine.run("edge-agent", "--version").stdout.strip() in versions.values()
        machine.install(wanted)
        assert machine.run("edge-agent", "--version").stdout.strip() == versions[wanted]
        assert machine.run("apt-get", "check").returncode == 0
    assert [path.name for path in (machine.root / OPT).iterdir() if path.name.startswith(".")] == []


@pytest.mark.root
def test_a_damaged_release_is_seen_and_mended_by_installing_it_again(machine: Machine, package: Path) -> None:
    machine.install(package)
    assert machine.run("dpkg", "--verify", "store-edge-agent").stdout == ""
    name = current(machine).name
    with (current(machine) / "OPERATIONS.md").open("a") as file:
        file.write("a flipped bit\n")
    assert "OPERATIONS.md" in machine.run("dpkg", "--verify", "store-edge-agent").stdout
    machine.install(package)
    assert current(machine).name == f"{name}.again"
    assert (current(machine) / "OPERATIONS.md").read_bytes() == (TOP / "docs/OPERATIONS.md").read_bytes()
    machine.install(package)
    assert current(machine).name == f"{name}.again"


# As if killed: the number is still in the write-ahead log.
NUMBER = """
import os, sqlite3, sys
db = sqlite3.connect(f"/var/lib/edge-agent/{sys.argv[1]}")
db.execute("PRAGMA journal_mode = WAL")
db.execute(f"PRAGMA user_version = {int(sys.argv[2])}")
os._exit(0)
"""


def number(machine: Machine, file: str, schema: int) -> None:
    """Make `file`, as the agent, one of `schema`."""
    as_agent = ("setpriv", "--reuid=edge-agent", "--regid=edge-agent", "--clear-groups")
    done = machine.run(*as_agent, "python3", "-c", NUMBER, file, str(schema))
    assert done.returncode == 0, done.stderr


@pytest.mark.root
def test_a_release_that_cannot_read_what_is_there_is_refused_before_anything_changes(
    machine: Machine, package: Path, newer: Path
) -> None:
    machine.install(newer)
    before = current(machine).name
    shutil.copy(package, machine.root / "root")
    state = machine.root / "var/lib/edge-agent"
    for file, known in build.SCHEMAS.items():
        number(machine, file, known + 1)
        done = machine.run("dpkg", "--install", f"/root/{package.name}")
        assert done.returncode != 0
        assert f"/var/lib/edge-agent/{file} has schema {known + 1}" in done.stderr
        assert all(path.stat().st_uid == state.stat().st_uid for path in state.glob(f"{file}*"))
        number(machine, file, known)
    assert current(machine).name == before
    assert machine.run("edge-agent", "--version").stdout.strip() == SOON
    assert re.search(
        rf"^ii +store-edge-agent +{SOON} ", machine.run("dpkg", "-l", "store-edge-agent").stdout, re.MULTILINE
    )
    machine.install(package)


@pytest.mark.root
def test_remove_leaves_what_the_box_is_and_purge_leaves_nothing(machine: Machine, package: Path) -> None:
    before = machine.listing()
    broker = machine.root / "etc/mosquitto/conf.d/edge-agent.conf"
    broker.parent.mkdir(parents=True, exist_ok=True)
    broker.write_text("listener 1883\n")
    machine.install(package)
    assert broker.with_name("edge-agent.conf.before").read_text() == "listener 1883\n"
    (machine.root / "var/lib/edge-agent/identity").mkdir()
    (machine.root / "etc/edge-agent/rules.toml").touch()

    machine.dpkg("--remove", "store-edge-agent")
    assert not broker.exists()  # Debian's broker would not start with it
    assert not (machine.root / "etc/apparmor.d/edge-job").exists()
    assert not (machine.root / OPT).exists()
    assert (machine.root / "var/lib/edge-agent/identity").is_dir()
    assert (machine.root / "etc/edge-agent/agent.toml").exists()
    machine.install(package)
    assert machine.run("edge-agent", "--version").stdout.strip() == tree.version()

    machine.dpkg("--purge", "store-edge-agent")
    assert machine.listing() == before
    assert machine.run("id", "edge-agent").returncode != 0


def test_pyproject_and_the_package_are_for_the_same_pythons() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(wheels.PYTHON)
