"""What central asks of a board meanwhile: jobs of new generations without end, each with an image of its own."""

import contextlib
import hashlib
import random
import subprocess
import threading

from hil.central import Central
from tests.registry import image, layer, write_archive

ERRANDS = "ran"  # on the errand's disk: a line for each that ran
FILES = 150
FILE_BYTES = 24 << 10
NOTHING = """
[[tenant]]
id = "citycloud"
quota = { jobs = 4, cpu_milli = 1000, memory = "256MiB", disk = "64MiB" }
"""
_JOBS = """

[[job]]
id = "keeper"
tenant = "citycloud"
kind = "service"
command = ["sleep", "infinity"]
cpu_milli = 100
memory = "32MiB"
restart = {{ mode = "always", backoff = "1s" }}

[[job]]
id = "errand"
tenant = "citycloud"
kind = "batch"
generation = {generation}
command = ["sh", "-c", "echo {generation} >>/work/ran && sync /work/ran && sleep 4"]
cpu_milli = 100
memory = "32MiB"
disk = "8MiB"
restart = {{ mode = "never" }}

[[job]]
id = "again"
tenant = "citycloud"
kind = "batch"
generation = {generation}
command = ["sleep", "4"]
cpu_milli = 100
memory = "32MiB"
restart = {{ mode = "on-failure", backoff = "1s" }}

[[job]]
id = "picture"
tenant = "citycloud"
kind = "batch"
generation = {generation}
image = "{digest}"
command = ["/bin/busybox", "sh", "-c", 'test "$(/bin/busybox cat /data/* | /bin/busybox md5sum)" = "{sum}  -"']
cpu_milli = 300
memory = "64MiB"
restart = {{ mode = "on-failure", backoff = "1s" }}
"""


class Work:
    """A thread of its own between `start` and `stop`. What the board or central can't take now it tries again."""

    def __init__(self, central: Central, node: str, busybox: bytes, seed: int) -> None:
        self._central, self._node, self._busybox = central, node, busybox
        self._draw = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.generation = 0
        """The last that central has accepted."""
        self.doing = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(200)

    def _work(self) -> None:
        while not self._stop.is_set():
            generation = self.generation + 1
            files = {f"data/{number:04}": self._draw.randbytes(FILE_BYTES) for number in range(FILES)}
            total = hashlib.md5(b"".join(files.values()), usedforsecurity=False).hexdigest()
            archive = self._central.directory / f"picture-{generation}.tar"
            write_archive(image(layer({"bin/busybox": self._busybox}), layer(files)), archive)
            digest = ""
            while not digest and not self._stop.is_set():
                self.doing = f"image {generation} is pushed"
                with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                    digest = str(self._central.ask("image", "push", self._node, str(archive))["digest"])
            archive.unlink()
            text = NOTHING + _JOBS.format(generation=generation, digest=digest, sum=total)
            while digest and self.generation < generation and not self._stop.is_set():
                self.doing = f"generation {generation} is applied"
                with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                    self._central.apply(self._node, text)
                    self.generation = generation
            self.doing = f"generation {generation} was applied"
            self._stop.wait(self._draw.uniform(4, 12))
