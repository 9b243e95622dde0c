"""The same packets, by a fuzzer that follows the code's coverage: python -m tests.fuzz.frames_atheris -runs=100000."""

import sys

import atheris  # type: ignore[import-untyped]  # ships no types

with atheris.instrument_imports(include=["agent.launcher"]):
    from tests.fuzz.frames import answer


def one(data: bytes) -> None:
    answer(data)


if __name__ == "__main__":
    atheris.Setup([*sys.argv, "-max_len=4096", "tests/fuzz/corpus"], one)
    atheris.Fuzz()
