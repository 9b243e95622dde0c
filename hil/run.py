"""python -m hil.run TARGET [--report DIR] [PYTEST ARGS]: build what the board needs, then run the suite on it.

TARGET names a file of hil/env. The report stays in hil/report/TARGET: junit.xml, the console, a journal per test. Runs
at the same time need a directory each. index.html is all of it for people.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labgrid.util import yaml

from hil import page
from hil.image import cache

HERE = Path(__file__).parent
_MARK = ".hil"  # in a report: it may be replaced


def main(arguments: list[str]) -> int:
    targets = sorted(path.stem for path in (HERE / "env").glob("*.yaml"))
    if not arguments or arguments[0] not in targets:
        words = "TARGET [--report DIR] [PYTEST ARGS]"
        print(f"usage: python -m hil.run {words}; TARGET is one of: {' '.join(targets)}", file=sys.stderr)
        return 2
    target, *rest = arguments
    report = HERE / "report" / target
    ours = True
    if rest[:1] == ["--report"] and len(rest) > 1:
        report, rest = Path(rest[1]).resolve(), rest[2:]
        ours = not report.exists() or not any(report.iterdir()) or (report / _MARK).exists()
    if not ours:
        print(f"hil: {report} is no report of ours: name a directory that is empty or new", file=sys.stderr)
        return 2
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir(parents=True)
    (report / _MARK).touch()
    (report / "about.json").write_text(json.dumps(_about(rest), indent=2))
    with tempfile.TemporaryDirectory(prefix="hil-") as run:
        environment = os.environ | {"LG_HIL_RUN": run, "LG_HIL_REPORT": str(report)}
        environment["LG_HIL_PATIENCE"] = str(_options(target).get("patience", 1))
        if target.startswith("qemu-"):
            environment["LG_HIL_IMAGE"] = str(cache.image(cache.root(), target))
        command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "-v"]
        command += [f"--lg-env={HERE}/env/{target}.yaml", f"--lg-log={report}", f"--junitxml={report}/junit.xml"]
        code = _run([*command, *rest], environment)
    page.write(target, report)
    _tell(report)
    return code


def _options(target: str) -> dict[str, Any]:
    with (HERE / "env" / f"{target}.yaml").open() as file:
        return dict(yaml.load(file)["options"])


def _about(arguments: list[str]) -> dict[str, str]:
    commit = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, check=False)
    return {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.decode().strip(),
        "chosen": " ".join(arguments) or "what the board runs by itself",
    }


def _run(command: list[str], environment: dict[str, str]) -> int:
    """pytest switches the board off when it is interrupted: it is told, waited for, and never killed."""
    suite = subprocess.Popen(command, env=environment, cwd=HERE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both of us
    signal.signal(signal.SIGTERM, lambda *_: suite.send_signal(signal.SIGINT))
    return suite.wait()


def _tell(report: Path) -> None:
    times = report / "times.json"
    if times.exists():
        for what, seconds in json.loads(times.read_text()).items():
            print(f"hil: {what:<32} {seconds:6.1f} s", file=sys.stderr)
    print(f"hil: report in {report}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
