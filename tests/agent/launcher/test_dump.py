import subprocess
import sys

_SCRIPT = """
import os, resource
from agent.launcher import dump
dump.never()
dump.not_even_piped()
print(resource.getrlimit(resource.RLIMIT_CORE), os.stat("/proc/self/environ").st_uid)
"""


def test_a_process_with_secrets_leaves_no_core_and_no_open_door() -> None:
    """In a process of its own: neither can be taken back by this user."""
    said = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert said.stdout == "(1, 1) 0\n"  # what can't be dumped belongs to root in /proc (proc(5))
