"""python -m hil.run TARGET [PYTEST ARGS]: build what the board needs, then run the suite on it.

TARGET names a file of hil/env. The report stays in hil/report/TARGET: junit.xml, the console, a journal per test.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hil.image import cache

HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    targets = sorted(path.stem for path in (HERE / "env").glob("*.yaml"))
    if not arguments or arguments[0] not in targets:
        print(f"usage: python -m hil.run TARGET [PYTEST ARGS]; TARGET is one of: {' '.join(targets)}", file=sys.stderr)
        return 2
    target, *rest = arguments
    report = HERE / "report" / target
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="hil-") as run:
        environment = os.environ | {"LG_HIL_RUN": run, "LG_HIL_REPORT": str(report)}
        if target.startswith("qemu-"):
            environment["LG_HIL_IMAGE"] = str(cache.image(cache.root()))
        command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "-v"]
        command += [f"--lg-env={HERE}/env/{target}.yaml", f"--lg-log={report}", f"--junitxml={report}/junit.xml"]
        return subprocess.run([*command, *rest], env=environment, cwd=HERE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
