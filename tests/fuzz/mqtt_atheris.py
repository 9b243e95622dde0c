"""One target of tests/fuzz/mqtt.py under a fuzzer that follows coverage: python -m tests.fuzz.mqtt_atheris TARGET."""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # ships no types

with atheris.instrument_imports(include=["agent.mqtt"]):
    from tests.fuzz.mqtt import TARGETS
    from tests.fuzz.mqtt_seeds import SEEDS


def main() -> None:
    target = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[target]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, "-max_len=4096", corpus], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
