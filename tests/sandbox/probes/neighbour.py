"""Runs in a job of another tenant: plants canaries for probes to look for, and tells how late it is woken.

A line each quarter of a second: `beat` and, for every 5 ms of it, by how many microseconds the wake-up was late.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import time
from pathlib import Path

CANARY, KEY, PORT = "edge-canary-3af1", 0x3AF1CA7A, 48731  # as in verdict.py; this file is a job's whole program
TICK, TICKS = 0.005, 50

libc = ctypes.CDLL(None, use_errno=True)
hidden, listener = socket.socket(socket.AF_UNIX), socket.socket()
hidden.bind(f"\0{CANARY}")
hidden.listen()
listener.bind(("0.0.0.0", PORT))
listener.listen()
libc.shmget(KEY, 4096, 0o1666)
libc.mq_open(f"/{CANARY}".encode(), 0o102, 0o666, None)
for folder in ("/tmp", "/dev/shm", "/work", "/run/secrets"):
    with contextlib.suppress(OSError):
        Path(folder, CANARY).write_text(CANARY)
sleeper = subprocess.Popen(["/usr/bin/sleep", "3600"], env={"SECRET": CANARY})
os.environ["SECRET"] = CANARY
print("planted", flush=True)
while True:
    late: list[int] = []
    for _ in range(TICKS):
        due = time.monotonic() + TICK
        time.sleep(TICK)
        late.append(int((time.monotonic() - due) * 1e6))
    print("beat", *late, flush=True)
