"""Packets by a fuzzer that follows the coverage, from sound ones: python -m tests.fuzz.frames_atheris -runs=N."""

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # ships no types

with atheris.instrument_imports(include=["agent.launcher"]):
    from tests.fakes.launcher import FULL, REQUEST
    from tests.fuzz.frames import answer


def one(data: bytes) -> None:
    answer(data)


def seeds() -> list[bytes]:
    jobs = [{"op": op, **asdict(request)} for op in ("start", "hold") for request in (REQUEST, FULL)]
    assert FULL.network is not None
    others = [
        {"op": "reach", "run": "a.1", "reach": asdict(FULL.network.reach)},
        {"op": "signal", "run": "a.1", "signal": "TERM"},
        {"op": "remove-disk", "tenant": "acme", "job": "a"},
        {"op": "image", "image": "sha256:" + "ab" * 32},
    ]
    return [json.dumps(raw).encode() for raw in (*jobs, *others)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        for number, packet in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(packet)
        atheris.Setup([*sys.argv, "-max_len=4096", corpus], one)
        atheris.Fuzz()
