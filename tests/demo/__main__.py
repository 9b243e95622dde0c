"""./dev demo: one store, whole, on this machine. Ends with `demo: ok` (exit 0) or with what failed (exit 1)."""

import argparse
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests import box
from tests.demo.lan import PORT, lan
from tests.demo.show import Show
from tests.demo.story import TARGET, Report, Story
from tests.netns import STORE_LAN
from tests.stack import Stack, StackError

# As a drone in the yard would: the flight desk's signature under "hello".
_COUNTS = ("sent", "received", "lost", "duplicates", "out_of_order_topics")
_ASK = f'import urllib.request as u; print(u.urlopen("http://{STORE_LAN}:{PORT}/hello").read().hex())'


def _tables(show: Show, report: Report) -> None:
    devices, camera = report.devices, report.camera
    show.table(
        "What devices sent and what central holds",
        ("", "sent", "at central", "lost", "twice", "topics out of order"),
        [
            (f"{devices['devices']} devices", *(devices[word] for word in _COUNTS)),
            ("the camera, kept in", camera["pictures"], camera["at_central"], "", "", ""),
        ],
    )
    show.table("Who may do what with devices", ("who", "answer"), list(report.access.items()))
    show.table(
        "Jobs",
        ("job", "state", "reason", "exit", "last line"),
        [
            (name, j["state"], j.get("reason") or "-", j.get("exit_code", "-"), j.get("last_line", "-"))
            for name, j in report.jobs.items()
        ],
    )
    show.table(
        "Usage",
        ("tenant", "cpu s", "memory MiB·s", "run s", "samples", "sealed", "spent", "bill checks out"),
        [
            (
                u["tenant"],
                f"{int(u['cpu_nano']) / 1e9:.2f}",
                f"{int(u['memory_byte_seconds']) / 2**20:.0f}",
                f"{int(u['wall_nano']) / 1e9:.0f}",
                u["samples"],
                u["sealed_index"],
                f"{u['spent_micro'] / 1e6:.6f}" if u["credit_micro"] else "-",
                "yes" if u["chain_valid"] else "NO",
            )
            for u in report.usage
        ],
    )
    series, points = report.telemetry["series"], report.telemetry["points"]
    show.console.print(f"And at central: {points} points of {series} series of the hardware's health.")


def _logs(stack: Stack, show: Show) -> None:
    for part in stack.parts.values():
        show.console.print(f"--- last lines of {part.name}", style="dim")
        show.console.print(part.tail(15), markup=False, soft_wrap=True)


def _keep(stack: Stack, show: Show, gateway: int) -> None:
    box.start_gateway(stack)
    show.console.print("\nStill running. In another terminal, as root:")
    show.console.print(f"  export PATH={box.commands(stack, gateway)}:$PATH", soft_wrap=True)
    show.console.print("Then all examples of docs/DEVICES.md run as they stand, and:")
    for line in (
        "edgectl nodes", f"edgectl devices {TARGET}", f"edgectl jobs {TARGET}", f"edgectl logs {TARGET} parcel-desk -f",
        f"edgectl events {TARGET} --job flight-desk", f"edgectl images {TARGET}", f"edgectl usage {TARGET} --verify",
        f"edgectl telemetry {TARGET} --name system.cpu.utilization", "edgectl audit",
        "edge-agent status", "edge-agent devices", "edge-agent jobs", "edge-agent spool", "edge-agent doctor",
        f"nsenter --net={stack.run_dir}/yard python3 -c '{_ASK}'",
        f"edgectl apply {stack.dir}/office/store.toml --node {TARGET}",
    ):  # fmt: skip
        show.console.print(f"  {line}", soft_wrap=True)
    show.console.print("Ctrl-C ends it and cleans up.")
    signal.pause()


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running and print what to try")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the clean-up below runs
    stack = Stack()
    show = Show()
    report: Report | None = None
    cables = ExitStack()
    try:
        yard = cables.enter_context(lan(stack.netns, stack.run_dir / "yard"))
        with show:
            story = Story(stack, yard, show)
            try:
                report = story.tell()
            except StackError as error:
                report = story.report
                report.failures.append(str(error))
        if report.ok:
            _tables(show, report)
        if args.json:
            args.json.write_text(json.dumps(asdict(report), indent=2) + "\n")
        for failure in report.failures:
            show.step(failure, bad=True)
        if report.failures:
            _logs(stack, show)
        show.console.print("demo: ok" if report.ok else "demo: FAILED")
        if args.keep and report.ok:
            _keep(stack, show, story.gateway)
    except KeyboardInterrupt:
        show.console.print("interrupted; cleaning up")
        return 0 if report is not None and report.ok else 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
        cables.close()
        stack.close()
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
