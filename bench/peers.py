"""Other ways to start the same command on this machine, each timed from the request to the first byte of its output."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.launched import TOP, Launched
from tests.stack import until

Once = Callable[[int], float]  # number of the turn -> ms to the first byte

COMMAND = ["/bin/echo", "x"]


def request(run: str) -> dict[str, Any]:
    return {
        "run": run, "tenant": "bench", "job": "bench", "image": "host", "command": COMMAND, "cpu_milli": 2000,
        "memory_bytes": 64 << 20, "pids": 64, "log_bytes": 65536, "tmp_bytes": 1 << 20,
    }  # fmt: skip


def first_byte(log: Path) -> float:
    """Wall clock, in seconds, when conmon got the first byte: it stamps each line with nanoseconds."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            line = log.read_text()
            if line.endswith("\n"):
                day, zone = line.split(" ", 1)[0].rsplit(".", 1)
                return datetime.fromisoformat(f"{day}+00:00").timestamp() + float(f"0.{zone[:9]}")
        time.sleep(0.002)
    raise TimeoutError(log)


def _bundle(one: Launched, directory: Path) -> Path:
    """Our own bundle as the launcher would write it, in a cgroup beside."""
    (directory / "request.json").write_text(json.dumps(request("bare")))
    plan = subprocess.run(
        [sys.executable, "-m", "agent.launcher", "--dry-run", directory / "request.json", "--json", *one.options()],
        env={**os.environ, "PYTHONPATH": str(TOP)}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    steps = json.loads(plan)
    config = json.loads(next(step["text"] for step in steps if step.get("path", "").endswith("config.json")))
    config["linux"]["cgroupsPath"] = f"/{one.cgroup}/bare"
    bundle = directory / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


@contextlib.contextmanager
def bare(one: Launched, runtime: str) -> Generator[Once]:
    """What any parent has to do: conmon, its answer, start."""
    with tempfile.TemporaryDirectory(prefix="bench-bare-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        bundle = _bundle(one, Path(name))

        def once(number: int) -> float:
            run, work = f"bare-{number}", bundle.parent / f"run-{number}"
            (work / "exits").mkdir(parents=True)
            root = f"--root={bundle.parent}/runtime"
            begin = time.time()
            read, write = os.pipe()
            argv: list[str | Path] = [
                "conmon", "--api-version", "1", "-c", run, "-u", run, "-n", run, "-r", str(shutil.which(runtime)),
                "--runtime-arg", root, "-b", bundle, "--persist-dir", work / "exits", "-p", work / "pid",
                "--conmon-pidfile", work / "conmon.pid", "--full-attach", "-l", f"k8s-file:{work}/log",
                "--log-level", "error",
            ]  # fmt: skip
            environment = {**os.environ, "_OCI_SYNCPIPE": str(write)}
            subprocess.run(argv, check=True, pass_fds=(write,), env=environment, cwd=work)
            os.close(write)
            with os.fdopen(read) as pipe:
                answer = json.loads(pipe.readline())
            assert answer["data"] > 0, answer
            subprocess.run([runtime, root, "start", run], check=True)
            milli = (first_byte(work / "log") - begin) * 1000
            until((work / "exits/exit").exists, what="the exit file")
            subprocess.run([runtime, root, "delete", "--force", run], check=True)
            return milli

        yield once


def _to_first_byte(argv: Sequence[str]) -> float:
    begin = time.time()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    milli = (time.time() - begin) * 1000
    process.stdout.close()
    assert process.wait() == 0
    return milli


@contextlib.contextmanager
def _image(one: Launched) -> Iterator[Path]:
    """Our skeleton root as an archive: podman and docker mount /usr into it as we do."""
    with tempfile.TemporaryDirectory(prefix="bench-image-", dir="/var/tmp") as name:
        archive = Path(name) / "image.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(one.state_dir / "host-rootfs", arcname=".")
        yield archive


_FLAGS = ["--rm", "--network", "none", "--read-only", "--cap-drop", "all", "--memory", "64m", "--pids-limit", "64",
          "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "-v", "/usr:/usr:ro"]  # fmt: skip


@contextlib.contextmanager
def podman(one: Launched, runtime: str) -> Generator[Once]:
    """With a storage of its own and the same runtime."""
    with _image(one) as archive, tempfile.TemporaryDirectory(prefix="bench-podman-", dir="/var/tmp") as name:
        base = ["podman", "--root", f"{name}/root", "--runroot", f"{name}/run", "--runtime", runtime,
                "--cgroup-manager", "cgroupfs", "--events-backend", "file"]  # fmt: skip
        subprocess.run([*base, "import", archive, "bench"], check=True, capture_output=True)
        try:
            yield lambda _: _to_first_byte([*base, "run", *_FLAGS, "bench", *COMMAND])
        finally:
            subprocess.run([*base, "rmi", "--all", "--force"], check=False, capture_output=True)
            subprocess.run(["umount", f"{name}/root/overlay"], check=False, capture_output=True)


@contextlib.contextmanager
def docker(one: Launched) -> Generator[Once | None]:
    """With a daemon of its own that changes nothing on this machine's network; None where it doesn't come up."""
    with _image(one) as archive, tempfile.TemporaryDirectory(prefix="bench-docker-", dir="/var/tmp") as name:
        socket = f"unix://{name}/docker.sock"
        argv = ["dockerd", "--data-root", f"{name}/data", "--exec-root", f"{name}/exec", "-H", socket, "-p",
                f"{name}/pid", "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false",
                "--ip-masq=false", "--storage-driver", "overlay2"]  # fmt: skip
        with (Path(name) / "log").open("wb") as log:
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        base = ["docker", "-H", socket]
        try:
            up = False
            with contextlib.suppress(RuntimeError):
                until(lambda: daemon.poll() is not None or _answers([*base, "version"]), what="dockerd", seconds=30)
                up = daemon.poll() is None
            if up:
                subprocess.run([*base, "import", archive, "bench"], check=True, capture_output=True)
            yield (lambda _: _to_first_byte([*base, "run", *_FLAGS, "bench", *COMMAND])) if up else None
        finally:
            daemon.terminate()
            daemon.wait(30)
            for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
                if line.split()[1].startswith(name):
                    subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)


def _answers(argv: Sequence[str]) -> bool:
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def nspawn(one: Launched) -> Generator[Once]:
    """Without limits and without seccomp arguments of ours: systemd's own defaults, in user and network namespaces."""
    with tempfile.TemporaryDirectory(prefix="bench-nspawn-", dir="/var/tmp") as name:
        root = Path(name) / "root"
        shutil.copytree(one.state_dir / "host-rootfs", root, symlinks=True)
        argv = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-users=pick", "--private-network",
                "--read-only", "--timezone=off", "--bind-ro=/usr", "--pipe", "-D", str(root), *COMMAND]  # fmt: skip
        yield lambda _: _to_first_byte(argv)
