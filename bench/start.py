"""How long a job takes to its first byte of output: our launcher, bare conmon and runtime, podman run."""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.table import Row, publish
from tests.launched import TOP, Launched, launched

RUNS = 21
WARM_UP = 2
COMMAND = ["/bin/echo", "x"]


def request(run: str) -> dict[str, Any]:
    return {
        "run": run, "tenant": "bench", "image": "host", "command": COMMAND, "cpu_milli": 2000,
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


def call(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(path))
        connection.send(json.dumps(value).encode())
        data, fds, _, _ = socket.recv_fds(connection, 100_000, 1)
    for fd in fds:
        os.close(fd)
    answer = json.loads(data)
    assert "ok" in answer, answer
    return answer["ok"]


def ours(one: Launched, number: int) -> float:
    run = f"ours-{number}"
    begin = time.time()
    call(one.socket, {"op": "start", **request(run)})
    milli = (first_byte(one.directory / "run/logs" / run) - begin) * 1000
    while call(one.socket, {"op": "state", "run": run})["phase"] == "running":
        time.sleep(0.002)
    call(one.socket, {"op": "remove", "run": run})
    return milli


def bare_bundle(one: Launched, directory: Path) -> tuple[Path, str]:
    """Our own bundle as the launcher would write it, in a cgroup beside, and the runtime that it chose."""
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
    return bundle, call(one.socket, {"op": "hello"})["runtime"]


def bare(bundle: Path, runtime: str, number: int) -> float:
    """What any parent has to do: conmon, its answer, start."""
    run, work = f"bare-{number}", bundle.parent / f"run-{number}"
    (work / "exits").mkdir(parents=True)
    root = f"--root={bundle.parent}/runtime"
    begin = time.time()
    read, write = os.pipe()
    argv = [
        "conmon", "--api-version", "1", "-c", run, "-u", run, "-n", run, "-r", shutil.which(runtime), "--runtime-arg",
        root, "-b", bundle, "--persist-dir", work / "exits", "-p", work / "pid",
        "--conmon-pidfile", work / "conmon.pid", "--full-attach", "-l", f"k8s-file:{work}/log", "--log-level", "error",
    ]  # fmt: skip
    subprocess.run(argv, check=True, pass_fds=(write,), env={**os.environ, "_OCI_SYNCPIPE": str(write)}, cwd=work)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = json.loads(pipe.readline())
    assert answer["data"] > 0, answer
    subprocess.run([runtime, root, "start", run], check=True)
    milli = (first_byte(work / "log") - begin) * 1000
    while not (work / "exits/exit").exists():
        time.sleep(0.002)
    subprocess.run([runtime, root, "delete", "--force", run], check=True)
    return milli


@contextlib.contextmanager
def podman(one: Launched, runtime: str) -> Generator[Callable[[int], float]]:
    """podman with a storage of its own, an image of our skeleton root, /usr mounted as we do, the same runtime."""
    with tempfile.TemporaryDirectory(prefix="bench-podman-", dir="/var/tmp") as name:
        base = ["podman", "--root", f"{name}/root", "--runroot", f"{name}/run", "--runtime", runtime,
                "--cgroup-manager", "cgroupfs", "--events-backend", "file"]  # fmt: skip
        with tarfile.open(f"{name}/image.tar", "w") as tar:
            tar.add(one.state_dir / "host-rootfs", arcname=".")
        subprocess.run([*base, "import", f"{name}/image.tar", "bench"], check=True, capture_output=True)
        flags = ["--rm", "--network", "none", "--read-only", "--cap-drop", "all", "--memory", "64m",
                 "--pids-limit", "64", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
                 "-v", "/usr:/usr:ro"]  # fmt: skip

        def once(_: int) -> float:
            begin = time.time()
            process = subprocess.Popen([*base, "run", *flags, "bench", *COMMAND], stdout=subprocess.PIPE)
            assert process.stdout is not None
            assert process.stdout.read(1) == b"x"
            milli = (time.time() - begin) * 1000
            process.stdout.close()
            assert process.wait() == 0
            return milli

        try:
            yield once
        finally:
            subprocess.run([*base, "rmi", "--all", "--force"], check=False, capture_output=True)
            subprocess.run(["umount", f"{name}/root/overlay"], check=False, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.start", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    samples: dict[str, list[float]] = {"launcher": [], "bare": [], "podman": []}
    with launched() as one, tempfile.TemporaryDirectory(prefix="bench-bare-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        bundle, runtime = bare_bundle(one, Path(name))
        with podman(one, runtime) as podman_run:
            for number in range(WARM_UP + RUNS):  # in turns, so that a noisy moment hits all of them
                turn = {
                    "launcher": ours(one, number),
                    "bare": bare(bundle, runtime, number),
                    "podman": podman_run(number),
                }
                if number >= WARM_UP:
                    for key, milli in turn.items():
                        samples[key].append(milli)
    metric = "request to first byte of the job's output"
    rows = [
        Row(metric, "ms", samples["launcher"], f"conmon + {runtime}, same bundle", samples["bare"], goal_ratio=1.25),
        Row(
            metric,
            "ms",
            samples["launcher"],
            f"podman run ({runtime})",
            samples["podman"],
            goal_ratio=0.5,
        ),
    ]
    return 0 if publish("start", rows, args.json) else 1


if __name__ == "__main__":
    sys.exit(main())
