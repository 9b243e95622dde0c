"""Every metric the agent sends, pinned: names, units, kinds and attributes are an interface (metrics.txt)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.model import RecordClass, SpoolClassView, SpoolView
from agent.telemetry.collectors import COLLECTORS
from agent.telemetry.collectors.agent import AgentCollector, Process, reader
from agent.telemetry.collectors.cpu import CpuCollector
from agent.telemetry.collectors.disk import Disk, DiskCollector
from agent.telemetry.collectors.fan import FanCollector
from agent.telemetry.collectors.filesystem import FilesystemCollector, Mount, Space
from agent.telemetry.collectors.load import LoadCollector
from agent.telemetry.collectors.memory import Memory, MemoryCollector
from agent.telemetry.collectors.network import Flow, Interface, NetworkCollector
from agent.telemetry.collectors.process import ProcessCollector
from agent.telemetry.collectors.swap import Swap, SwapCollector
from agent.telemetry.collectors.temperature import TemperatureCollector
from agent.telemetry.collectors.throttle import ThrottleCollector
from agent.telemetry.collectors.uptime import UptimeCollector
from agent.telemetry.runner import Runner
from agent.telemetry.sample import Collector, Sample

GOLDEN = Path(__file__).with_name("metrics.txt")
GIB = 1 << 30
SYS = {
    "class/hwmon/hwmon1/name": "rpi_volt\n",
    "class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
    "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4\n",
}


def store_box(sys: Path) -> Mapping[str, Collector]:
    """A Raspberry Pi with one core, an NVMe disk that has fallen off, and a fan."""
    for name, text in SYS.items():
        (sys / name).parent.mkdir(parents=True, exist_ok=True)
        (sys / name).write_text(text)
    modes = ("user", "nice", "system", "idle", "iowait", "interrupt", "steal")
    times = [dict(zip(modes, (10.0, 0, 2.5, 80, 1, 0.25, 0), strict=True)), dict.fromkeys(modes, 0.0)]
    spool = SpoolView("e", 4096, GIB, (SpoolClassView(RecordClass.DEVICE, 10, 7, 3, 1),))
    mounts = [Mount("/", "/dev/mmcblk0p2", "ext4", "rw")]
    return {
        "agent": AgentCollector(lambda: spool, lambda: 0.00123, lambda: Process(40 << 20, 12.34, 5.6)),
        "cpu": CpuCollector(lambda: [times.pop()]),
        "load": LoadCollector(lambda: (0.52, 0.58, 0.59)),
        "memory": MemoryCollector(lambda: Memory(4 * GIB, 3 * GIB, 2 * GIB, GIB // 8, GIB // 2)),
        "swap": SwapCollector(lambda: Swap(GIB, GIB // 4, 100, 200)),
        "disk": DiskCollector(lambda: {"mmcblk0": Disk(1000, 2000, 16_384_000, 65_536_000, 12_345)}),
        "network": NetworkCollector(lambda: {"eth0": Interface(Flow(5000, 50, 1, 2), Flow(7000, 70, 3, 4))}),
        "uptime": UptimeCollector(lambda: 86400.1234),
        "process": ProcessCollector(lambda: range(130)),
        "temperature": TemperatureCollector(lambda: {"cpu_thermal": [("", 51.121)]}),
        "fan": FanCollector(lambda: {"pwmfan": [("", 3012)]}),
        "throttle": ThrottleCollector(sys),
        "filesystem": FilesystemCollector(
            (Path("/"), Path("/data")), lambda: mounts, lambda _: Space(32 * GIB, 8 * GIB, 22 * GIB)
        ),
    }


def written(samples: Sequence[Sample]) -> str:
    lines = []
    for sample in samples:
        attributes = ",".join(f"{key}={value}" for key, value in sample.attributes)
        lines.append(f"{sample.name}{{{attributes}}} {sample.value} {sample.unit} {sample.kind.name.lower()}\n")
    return "".join(sorted(lines))


async def test_names_units_kinds_and_attributes_are_what_they_always_were(tmp_path: Path) -> None:
    box = store_box(tmp_path)
    assert box.keys() == COLLECTORS.keys()
    runner = Runner(box, lambda: 0.0)
    await runner.collect(10)  # utilization needs two readings
    now = tmp_path / "metrics.txt"
    now.write_text(written(await runner.collect(10)))
    assert now.read_text() == GOLDEN.read_text(), f"if that was meant: cp {now} {GOLDEN}"


def test_no_series_is_given_twice_in_one_tick(tmp_path: Path) -> None:
    for name, collector in store_box(tmp_path).items():
        samples = list(collector.collect())
        assert len({sample.series for sample in samples}) == len(samples), name


def test_this_process_has_memory_and_has_used_time() -> None:
    process = reader()()
    assert process.rss > 1 << 20
    assert process.user + process.system > 0
