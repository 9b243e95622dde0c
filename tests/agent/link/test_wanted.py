"""Desired state: checked, on disk, then applied."""

from collections.abc import Sequence
from pathlib import Path

from agent.errors import RefusedError
from agent.link.wanted import Wanted
from agent.model import Body, Event
from agent.spec import Desired
from storeedge.v1 import desired_pb2


class Witness:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[tuple[int, bool]] = []
        self.events: list[str] = []
        self.refuse = False

    def check(self, _: Desired) -> None:
        if self.refuse:
            raise RefusedError("BAD_REQUEST", "rule 3: no such filter")

    async def apply(self, desired: Desired) -> None:
        on_disk = desired_pb2.Desired.FromString(self.path.read_bytes()).revision == desired.revision
        self.applied.append((desired.revision, on_disk))

    async def record(self, bodies: Sequence[Body]) -> None:
        self.events += [b.kind for b in bodies if isinstance(b, Event)]

    def wanted(self) -> Wanted:
        return Wanted(self.path, check=self.check, apply=self.apply, record=self.record)


async def test_it_is_on_disk_before_it_is_applied_and_applied_again_after_a_restart(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "desired.pb")
    await witness.wanted().accept(desired_pb2.Desired(revision=3))
    again = witness.wanted()
    await again.restore()
    assert witness.applied == [(3, True), (3, True)]
    assert again.revision() == 3
    assert witness.events == ["desired.applied"]


async def test_an_older_or_equal_revision_changes_nothing(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "desired.pb")
    wanted = witness.wanted()
    await wanted.accept(desired_pb2.Desired(revision=3))
    await wanted.accept(desired_pb2.Desired(revision=3))
    await wanted.accept(desired_pb2.Desired(revision=2))
    assert [revision for revision, _ in witness.applied] == [3]


async def test_a_refused_one_leaves_the_old_one_in_force_and_on_disk(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "desired.pb")
    wanted = witness.wanted()
    await wanted.accept(desired_pb2.Desired(revision=3))
    witness.refuse = True
    await wanted.accept(desired_pb2.Desired(revision=4))
    assert wanted.revision() == 3
    assert desired_pb2.Desired.FromString(witness.path.read_bytes()).revision == 3
    assert witness.events == ["desired.applied", "desired.refused"]


async def test_a_spoiled_file_means_waiting_for_central_not_a_crash(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "desired.pb")
    witness.path.write_bytes(b"\xff\xff\xff")
    wanted = witness.wanted()
    await wanted.restore()
    assert (wanted.revision(), witness.applied) == (0, [])
