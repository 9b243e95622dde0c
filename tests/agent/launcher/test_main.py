import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_an_idle_launcher_loads_nothing_that_it_has_no_use_for() -> None:
    """One of these would cost up to 1.2 of its 12 MB: whoever brings it back sees this."""
    code = (
        "import sys; from agent.launcher.__main__ import main; sys.argv = ['edge-launcher', '--help']; code = main();"
        "unused = 'ast bz2 ctypes dis hashlib inspect ipaddress lzma pickle shutil subprocess traceback urllib.parse';"
        "print(code, 'agent.launcher.runs' in sys.modules,"
        " [n for n in unused.split() if getattr(sys.modules.get(n), '__file__', None)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.splitlines()[-1] == "0 True []"
