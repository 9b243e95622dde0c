"""Images unpacked and run for real; whole or not at all, whoever is killed, and whenever."""

import asyncio
import functools
import gzip
import os
import random
import select
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import RefusedError
from agent.launcher.protocol import LauncherError
from agent.sandbox import ImageState, JobRequest, Sandbox
from tests.images import FIRST, MIB, Store, store
from tests.launched import Launched, launched
from tests.layouts import Layout, digest, entry, files, tar

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
TOOLS = ("sh", "cat", "id", "ls", "stat", "touch", "sleep", "pwd", "env", "mount")


@functools.cache
def system() -> bytes:
    """A layer with a shell and a few tools."""
    links = [entry(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox") for name in TOOLS]
    box = (entry("bin/busybox", mode=0o755), Path("/usr/bin/busybox").read_bytes())
    return tar([entry("bin", tarfile.DIRTYPE), box, *links])


@pytest.fixture(scope="module")
def _one() -> Iterator[Store]:
    with store() as one:
        yield one


@pytest.fixture
def shop(_one: Store) -> Iterator[Store]:
    yield _one
    _one.fresh()
    assert _one.traces() == []


@functools.cache
def noise(salt: int, size: int) -> bytes:
    return random.Random(salt).randbytes(size)


def large(one: Store, salt: int = 0) -> str:
    """Takes a good part of a second to unpack."""
    contents = {f"f{number}": noise(0, MIB)[number:] for number in range(24)}
    return one.layout.image(files(contents | {"salt": str(salt).encode()}), compressed=False)


def fill(fd: int) -> None:
    while True:
        os.write(fd, bytes(MIB))


def begun(one: Store, name: str) -> None:
    """Returns once umoci is at work."""
    deadline = time.monotonic() + 20
    while not (one.host.places.run_dir / "unpack/job.pid").exists():
        assert one.images.ask(name).state == "unpacking"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_layers_whiteouts_owners_modes_and_links_are_as_the_layers_say(shop: Store) -> None:
    image = shop.layout.image(
        files({"a": b"1", "d/": b"", "d/x": b"x", "d/y": b"y"}),
        files({"a": b"2", "d/.wh.x": b""}),
        config={"Entrypoint": ["/a"], "Cmd": ["b"], "WorkingDir": "/new/dir", "User": "7:8", "Env": ["A=b=c"]},
    )
    state = shop.unpack(image)
    assert state.state == "ready" and state.total_bytes > 0 and state.disk_bytes < 2 * MIB
    config = shop.images.config(image)
    assert (config.command, config.cwd, config.uid, config.gid) == (("/a", "b"), "/new/dir", 7, 8)
    assert config.env == {"A": "b=c"}
    with shop.tree(image) as tree:
        assert (tree / "a").read_bytes() == b"2"
        assert [path.name for path in (tree / "d").iterdir()] == ["y"]
        assert (tree / "new/dir").stat().st_uid == FIRST + 7
        assert {"dev", "proc", "sys", "etc", "run", "tmp", "work"} <= {path.name for path in tree.iterdir()}
        assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_plain_tars_and_dockers_media_types_are_taken(shop: Store) -> None:
    assert shop.unpack(shop.layout.image(files({"p": b"plain"}), compressed=False)).state == "ready"
    docker = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert shop.unpack(shop.layout.image(files({"p": b"docker"}), media=docker)).state == "ready"


def test_users_are_looked_up_in_the_image(shop: Store) -> None:
    accounts = {"etc/": b"", "etc/passwd": b"app:x:70:71::/:/bin/sh\n", "etc/group": b"staff:x:72:\n"}
    for user, ids in {"app": (70, 71), "app:staff": (70, 72), "70": (70, 71), "5": (5, 0), "": (0, 0)}.items():
        image = shop.layout.image(files(accounts), config={"User": user})
        assert shop.unpack(image).state == "ready"
        config = shop.images.config(image)
        assert (config.uid, config.gid) == ids


def test_one_image_asked_for_by_many_is_unpacked_once_and_two_wait_for_each_other(shop: Store) -> None:
    first, second = large(shop, 100), shop.layout.image(files({"s": b"second"}))
    begun(shop, first)
    assert shop.images.ask(second).state == "unpacking"
    partials = list((shop.host.places.state_dir / "images").glob("*.partial"))
    assert len(partials) == 1
    assert [shop.images.ask(first).state for _ in range(5)] == ["unpacking"] * 5
    assert shop.unpack(first).state == shop.unpack(second).state == "ready"
    assert {state.image for state in shop.images.states()} >= {first, second}


def test_progress_is_told_and_grows(shop: Store) -> None:
    name = large(shop, 200)
    seen: list[ImageState] = []
    while (state := shop.images.ask(name)).state == "unpacking":
        seen.append(state)
        time.sleep(0.01)
    done = [state.done_bytes for state in seen]
    assert done == sorted(done) and seen[-1].done_bytes == seen[-1].total_bytes > 24 * MIB


def test_an_image_comes_and_goes(shop: Store) -> None:
    name = shop.layout.image(files({"gone": b"x"}))
    with pytest.raises(LauncherError, match="is not unpacked here"):
        shop.images.config(name)
    assert shop.unpack(name).state == "ready"
    with shop.tree(name), pytest.raises(LauncherError, match="in use"):
        shop.images.remove(name)
    used = shop.images.ask(name).last_used_unix_nano
    shop.images.config(name)
    assert shop.images.ask(name).last_used_unix_nano > used
    shop.images.remove(name)
    with pytest.raises(LauncherError, match="no image"):
        shop.images.remove(name)
    assert name not in {state.image for state in shop.images.states()}
    assert shop.images.ask("sha256:" + "0" * 64).state == "absent"


MOMENTS = {
    "copying": "*.partial/layout/blobs/sha256/*",
    "mounted": "../../run/mounts/_unpack/work",
    "unpacking": "../../run/unpack/job.pid",
    "checked": "*.partial/image.json",
    "named": "[0-9a-f]*[0-9a-f]",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_there_is_no_image_or_a_whole_one(shop: Store, moment: str) -> None:
    """The launcher and its child at once, as by a power cut; the next launcher takes away what is left."""
    name = large(shop, 300)
    images = shop.host.places.state_dir / "images"
    for path in images.glob("[0-9a-f]*"):
        shop.images.remove(f"sha256:{path.name}")
    assert shop.images.ask(name).state == "unpacking"
    child = shop.images._child
    assert child is not None
    deadline = time.monotonic() + 20
    while not list(images.glob(MOMENTS[moment])):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    shop.fresh()
    left = [path for path in images.iterdir() if path.name != "lock"]
    assert all(path.name.isalnum() and {file.suffix for file in path.iterdir()} == {".img", ".json"} for path in left)
    assert shop.traces() == []
    state = shop.unpack(name)
    assert state.state == "ready"
    with shop.tree(name) as tree:
        assert len(list(tree.glob("f*"))) == 24
    shop.images.remove(name)


def test_a_launcher_alone_killed_leaves_an_unpacking_that_the_next_one_ends(shop: Store) -> None:
    name = large(shop, 400)
    begun(shop, name)
    child = shop.images._child
    assert child is not None
    shop.fresh()  # as if we were another process: the child still lives, and holds the lock
    os.waitpid(child.pid, 0)
    assert shop.traces() == []
    assert shop.unpack(name).state == "ready"
    shop.images.remove(name)


def test_a_killed_child_is_told_and_tried_again(shop: Store) -> None:
    name = large(shop, 500)
    begun(shop, name)
    assert shop.images._child is not None
    os.kill(shop.images._child.pid, signal.SIGKILL)
    with pytest.raises(LauncherError, match="ended without a word"):
        shop.unpack(name)
    assert shop.unpack(name).state == "ready"
    shop.images.remove(name)


def test_a_full_disk_is_the_hosts_and_leaves_nothing(tmp_path: Path) -> None:
    """A small file system for the launcher's state: the image would fit its cap, but not the disk."""
    disk = tmp_path / "small.img"
    subprocess.run(["truncate", "-s", "20M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    with store() as one:
        state = one.host.places.state_dir
        subprocess.run(["mount", "-o", "loop", disk, state / "images"], check=True)
        try:
            one.fresh()
            for salt, said in ((0, "the image needs more"), (1000, "the layers have")):
                data = bytes(18 * MIB) if salt == 0 else noise(1, 22 * MIB)
                name = one.layout.image(files({"big": data}))
                with pytest.raises(LauncherError, match=said) as caught:
                    one.unpack(name)
                assert (caught.value.code, caught.value.field) == ("host", "disk")
                assert list((state / "images").glob("*.partial")) == []
            assert one.unpack(one.layout.image(files({"small": b"x"}))).state == "ready"
        finally:
            one.images.close()
            subprocess.run(["umount", state / "images"], check=True)


def test_a_disk_that_fails_under_the_unpacking_is_the_hosts(tmp_path: Path) -> None:
    """Somebody else takes the space that was there: the loop device's writes fail."""
    disk = tmp_path / "small.img"
    subprocess.run(["truncate", "-s", "80M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    with store() as one:
        images = one.host.places.state_dir / "images"
        subprocess.run(["mount", "-o", "loop", disk, images], check=True)
        try:
            one.fresh()
            name = large(one, 600)
            begun(one, name)
            thief = os.open(images / "thief", os.O_WRONLY | os.O_CREAT)
            with pytest.raises(OSError, match="No space left"):
                fill(thief)
            os.close(thief)
            with pytest.raises(LauncherError) as caught:
                one.unpack(name)
            assert (caught.value.code, caught.value.field) == ("host", "disk")
            (images / "thief").unlink()
            assert one.unpack(name).state == "ready"
        finally:
            one.images.close()
            subprocess.run(["umount", images], check=True)


# --- run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launched]:
    """With crun; test_jobs_whole runs images with runc, where it is what works."""
    with launched("crun", extra_policy='images = ["host", "oci"]\n') as one:
        (one.directory / "agent").mkdir(mode=0o700)
        one.extra_policy += f'image_dir = "{one.directory}/agent"\n'
        one.end()
        one.start()
        yield one


_count = iter(range(1000))


def job(image: str, script: str, **changes: object) -> JobRequest:
    request = JobRequest(
        run=f"run-{next(_count)}", tenant="acme", job="job", image=image, command=("/bin/sh", "-c", script),
        cpu_milli=1000, memory_bytes=64 * MIB, pids=64, log_bytes=256 * 1024, tmp_bytes=4 * MIB,
    )  # fmt: skip
    return replace(request, **changes)  # type: ignore[arg-type]  # the test's own keywords


async def unpacked(sandbox: Sandbox, image: str) -> None:
    while (state := await sandbox.image(image)).state == "unpacking":
        await asyncio.sleep(0.02)
    assert state.state == "ready", state


async def ran(sandbox: Sandbox, request: JobRequest) -> tuple[int | None, list[str]]:
    await sandbox.start(request)
    _, fd = await sandbox.watch(request.run)
    if fd is not None:
        assert (await asyncio.to_thread(select.select, [fd], [], [], 60))[0]
        os.close(fd)
    while (state := await sandbox.state(request.run)).phase == "running":
        await asyncio.sleep(0.01)
    with os.fdopen(await sandbox.open_log(request.run)) as log:
        said = [line.split(" ", 3)[3].rstrip("\n") for line in log]
    await sandbox.remove(request.run)
    return state.exit_code, said


def devices(launcher: Launched) -> list[str]:
    found = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if str(launcher.directory) in line]


async def test_an_image_runs_as_its_author_meant_and_as_nobody_on_the_host(launcher: Launched) -> None:
    sandbox, layout = Sandbox(launcher.socket), Layout(launcher.directory / "agent")
    config = {"User": "7:8", "WorkingDir": "/srv", "Env": ["GREETING=hello"], "Cmd": ["/bin/sh", "-c", "id -u; pwd"]}
    image = layout.image(system(), files({"srv/": b"", "srv/data": b"of the image\n"}), config=config)
    with pytest.raises(RefusedError, match="is not unpacked here"):
        await sandbox.start(job(image, "true"))
    await unpacked(sandbox, image)
    assert await ran(sandbox, job(image, "", command=())) == (0, ["7", "/srv"])
    script = (
        "id -u; id -g; echo $GREETING; cat data; stat -c %u data; touch data; touch /work/w; stat -c %u /work/w; ls /"
    )
    code, said = await ran(sandbox, job(image, script))
    assert said[:5] == ["7", "8", "hello", "of the image", "0"]
    assert "touch: data: Read-only file system" in said and code == 0
    assert "lost+found" not in said


async def test_two_runs_of_one_image_at_once_share_its_blocks_and_it_stays_while_one_lives(launcher: Launched) -> None:
    sandbox, layout = Sandbox(launcher.socket), Layout(launcher.directory / "agent")
    image = layout.image(system(), files({"shared": b"x"}))
    await unpacked(sandbox, image)
    first, second = (job(image, "while :; do sleep 0.1; done") for _ in range(2))
    await sandbox.start(first)
    await sandbox.start(second)
    assert len(devices(launcher)) == 1
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(launcher.directory) not in mounts  # the sandboxes have theirs
    with pytest.raises(RefusedError, match="in use"):
        await sandbox.remove_image(image)
    launcher.end(signal.SIGKILL)
    launcher.start()
    assert {(await sandbox.state(one.run)).phase for one in (first, second)} == {"running"}
    assert (await ran(sandbox, job(image, "true")))[0] == 0
    for one in (first, second):
        await sandbox.signal(one.run, "KILL")
        while (await sandbox.state(one.run)).phase == "running":
            await asyncio.sleep(0.01)
        await sandbox.remove(one.run)
    await sandbox.remove_image(image)
    assert devices(launcher) == []


async def test_an_image_and_a_disk_together(launcher: Launched) -> None:
    sandbox, layout = Sandbox(launcher.socket), Layout(launcher.directory / "agent")
    image = layout.image(system(), config={"User": "33"})
    await unpacked(sandbox, image)
    for said in ([], ["kept"]):
        script = "cat /work/data 2>/dev/null; echo kept > /work/data"
        assert await ran(sandbox, job(image, script, disk_bytes=8 * MIB)) == (0, said)


async def test_a_corrupt_blob_is_told_to_the_agent(launcher: Launched) -> None:
    sandbox, layout = Sandbox(launcher.socket), Layout(launcher.directory / "agent")
    plain = files({"corrupt": b"x"})
    image = layout.image(plain)
    layout.path(digest(gzip.compress(plain, 1, mtime=0))).write_bytes(b"short")
    while (state := await sandbox.image(image)).state == "unpacking":
        await asyncio.sleep(0.02)
    assert (state.state, state.message) == ("failed", "layer 1 is cut short: 5 of " + state.message.split(" of ")[1])
    await sandbox.remove_image(image)
