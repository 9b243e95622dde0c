"""What a hostile job tries, from inside: each probe is held, and neither the neighbour nor the host is hurt."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.sandbox import pack
from tests.sandbox.grounds import ours
from tests.sandbox.probes.verdict import Probe
from tests.sandbox.prove import Proof

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
PROBES = pack.registry()
# What a runtime sets up is tried with both; limits are the kernel's, and take long.
EACH = [
    pytest.param(runtime, file, probe, id=f"{runtime}-{probe.name}")
    for runtime in ("runc", "crun")
    for file, probes in PROBES.items()
    for probe in probes
    if runtime == "runc" or file not in pack.ALONE
]


@pytest.fixture(scope="module")
def proofs() -> Iterator[dict[str, Proof]]:
    with contextlib.ExitStack() as grounds:
        yield {runtime: Proof(grounds.enter_context(ours(runtime))) for runtime in ("runc", "crun")}


@pytest.mark.parametrize(("runtime", "file", "probe"), EACH)
def test_the_sandbox_holds_and_nobody_else_is_hurt(
    proofs: dict[str, Proof], runtime: str, file: str, probe: Probe
) -> None:
    result = proofs[runtime].of(file, probe, PROBES[file])
    assert result.word in ("held", "measured"), result.verdict
    assert result.complaints == ()
    # Each 5 ms the neighbour wants to run; half of its wake-ups may not be late by another 5 ms, whatever is beside it.
    assert result.during.median < 5000, result.during


def test_there_are_enough_probes_of_each_kind() -> None:
    kinds = [probe.category for probes in PROBES.values() for probe in probes]
    assert len(kinds) >= 60
    assert min(kinds.count(kind) for kind in ("escape", "snoop", "exhaust")) >= 15
