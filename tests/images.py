"""Images and disks of a launcher without its server: a real host, directories and a cgroup of its own. Needs root."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.launcher import cgroup, disk, execute, host, idmap, image, loop, mounts, plan
from agent.launcher.image import Images
from agent.launcher.layout import Host, Places
from agent.launcher.operation import Plan
from agent.launcher.policy import Policy
from agent.launcher.protocol import ImageState
from agent.launcher.storage import LimitDevice, MakeDisk, MountFile
from tests.layouts import Layout

MIB = 1 << 20
FIRST = 0x7001_0000  # where `Store.tree` shows an image's id 0


@dataclass
class Store:
    directory: Path
    host: Host
    layout: Layout
    images: Images

    def fresh(self, max_image_bytes: int = 64 * MIB, seconds: float = 60.0) -> Images:
        """As after a restart of the launcher."""
        self.images.close()
        self.images = Images(self.host, self.layout.directory, max_image_bytes, seconds=seconds)
        self.images.adopt()
        return self.images

    def unpack(self, name: str, seconds: float = 50.0) -> ImageState:
        """Ask until there is an answer. Raises LauncherError(host)."""
        deadline = time.monotonic() + seconds
        while (state := self.images.ask(name)).state == "unpacking":
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return state

    @contextmanager
    def tree(self, name: str) -> Generator[Path]:
        """The image as a run in the range FIRST sees it."""
        point = self.directory / "look"
        point.mkdir(exist_ok=True)
        with loop.device(image.file(self.host.places, name), read_only=True) as device:
            idmap.attach(device, point, read_only=True, first_id=FIRST)
        try:
            yield point
        finally:
            mounts.unmount(point)

    def perform(self, steps: Plan) -> None:
        for step in steps:
            if isinstance(step, MakeDisk | MountFile | LimitDevice):
                disk.perform(step)
            else:
                execute.perform((step,))

    def traces(self) -> list[str]:
        """What an unpacking must not leave: mounts, loop devices, half images, processes, the sandbox's state."""
        found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.directory) in line]
        devices = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
        found += [line for line in devices.splitlines() if str(self.directory) in line]
        places = self.host.places
        found += [str(path) for path in (places.state_dir / "images").glob("*.partial")]
        found += [str(path) for path in places.runtime.iterdir()]
        groups = self.host.tree.everywhere(self.host.tree.parent)
        return found + [str(path) for parent in groups for path in parent.glob("run-*")]


@contextmanager
def store() -> Generator[Store]:
    """Not below pytest's tmp_path: mapped users must be able to search the way to a root file system."""
    directory = Path(tempfile.mkdtemp(prefix="images-", dir="/var/tmp"))
    directory.chmod(0o711)
    layout = Layout(directory / "agent")
    places, rules = Places(directory / "state", directory / "run"), Policy(agent_uid=0, network="")
    found = host.discover(places, rules, cgroup_name=directory.name, runtime="auto", netns="")
    execute.perform(plan.skeleton(found.places))
    cgroup.prepare(found.tree)
    one = Store(directory, found, layout, Images(found, layout.directory, 64 * MIB))
    one.images.adopt()
    try:
        yield one
    finally:
        one.images.close()
        image.purge(found)
        cgroup.kill(found.tree, found.tree.parent)
        cgroup.clear(found.tree, found.tree.parent)
        assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
        shutil.rmtree(directory)
