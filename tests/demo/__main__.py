"""./dev demo: one store, whole, on this machine. Ends with `demo: ok` (exit 0) or with what failed (exit 1)."""

import argparse
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.demo.lan import PORT, lan
from tests.demo.show import Show
from tests.demo.story import TARGET, Report, Story
from tests.netns import STORE_LAN
from tests.stack import BIN, Stack, StackError

# As a drone in the yard would: the flight desk's signature under "hello".
_ASK = f'import urllib.request as u; print(u.urlopen("http://{STORE_LAN}:{PORT}/hello").read().hex())'


def _tables(show: Show, report: Report) -> None:
    show.table("What devices sent and what central holds", tuple(report.devices), [tuple(report.devices.values())])
    show.table(
        "Jobs",
        ("job", "state", "reason", "exit", "last line"),
        [
            (name, j["state"], j.get("reason") or "-", j.get("exit_code", "-"), j.get("last_line", "-"))
            for name, j in report.jobs.items()
        ],
    )
    show.table(
        "What happened to the flight desk's update",
        ("generation", "state", "reason", "message"),
        [(report.rollback["generation"], "failed", report.rollback["reason"], report.rollback["message"])],
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
    show.table("Telemetry at central", ("series", "points"), [(report.telemetry["series"], report.telemetry["points"])])


def _logs(stack: Stack, show: Show) -> None:
    for part in stack.parts.values():
        show.console.print(f"--- last lines of {part.name}", style="dim")
        show.console.print(part.tail(15), markup=False, soft_wrap=True)


def _keep(stack: Stack, show: Show) -> None:
    edgectl = f"{BIN}/edgectl --dir {stack.dir}/central"
    agent = f"{BIN}/edge-agent --config {stack.config}"
    show.console.print("\nStill running. Try, in another terminal:")
    for line in (
        f"{edgectl} nodes", f"{edgectl} jobs {TARGET}", f"{edgectl} logs {TARGET} cache -f",
        f"{edgectl} events {TARGET} --job flight-desk", f"{edgectl} images {TARGET}",
        f"{edgectl} usage {TARGET} --verify",
        f"{edgectl} telemetry {TARGET} --name system.cpu.utilization", f"{edgectl} audit",
        f"{agent} status", f"{agent} jobs", f"{agent} spool", f"{agent} doctor",
        f"nsenter --net={stack.run_dir}/yard python3 -c '{_ASK}'",
        f"{agent} device add fridge-99 --password",
        f"mosquitto_pub -p {stack.mqtt_port} -q 1 -u fridge-99 -P PASSWORD -t devices/fridge-99/temperature -m 4.2",
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
            _keep(stack, show)
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
