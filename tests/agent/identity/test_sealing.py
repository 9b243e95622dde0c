"""agent/identity/sealing.py, with what edgectl seals."""

import base64
from pathlib import Path

import pytest

from agent.errors import RefusedError, StorageError
from agent.identity import sealing
from agent.spec import SealedSecret, Secret
from central.cli.sealing import seal
from storeedge.v1.desired_pb2 import Desired

CONTENT = b"hunter2 \x00\xff"
DIGEST_KEY = bytes(32)


def sealed_for(public: bytes, tenant: str = "acme", job: str = "shop", name: str = "DB_PASSWORD") -> Secret:
    desired = Desired()
    desired.jobs.add(id=job, tenant=tenant)
    (made,) = seal(desired, {job: {name: CONTENT}}, "s/n", public, DIGEST_KEY).jobs[0].secrets
    return Secret(made.name, tuple(SealedSecret(s.key_id, s.ephemeral, s.ciphertext) for s in made.sealed))


async def test_a_secret_sealed_by_an_operator_opens_on_its_node(tmp_path: Path) -> None:
    key = tmp_path / "sealing.key"
    public = await sealing.ensure(key)
    assert await sealing.unseal(key, "acme", "shop", [sealed_for(public)]) == {"DB_PASSWORD": CONTENT}
    assert await sealing.unseal(key, "acme", "shop", []) == {}


async def test_the_key_stays_and_a_later_start_needs_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "sealing.key"
    public = await sealing.ensure(key)
    assert key.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(sealing, "_CHILD", tmp_path / "none.py")
    assert await sealing.ensure(key) == public


async def test_a_public_half_that_got_lost_is_derived_again(tmp_path: Path) -> None:
    key = tmp_path / "sealing.key"
    public = await sealing.ensure(key)
    key.with_name("sealing.key.pub").unlink()
    assert await sealing.ensure(key) == public


async def test_a_broken_key_is_set_aside_and_replaced(tmp_path: Path) -> None:
    key = tmp_path / "sealing.key"
    key.write_bytes(b"no key")
    public = await sealing.ensure(key)
    assert (tmp_path / "sealing.key.broken").read_bytes() == b"no key"
    assert await sealing.unseal(key, "acme", "shop", [sealed_for(public)])


@pytest.mark.parametrize(
    ("tenant", "job", "name"), [("other", "shop", "DB_PASSWORD"), ("acme", "x", "DB_PASSWORD"), ("acme", "shop", "X")]
)
async def test_a_secret_moved_to_another_job_or_name_does_not_open(
    tmp_path: Path, tenant: str, job: str, name: str
) -> None:
    key = tmp_path / "sealing.key"
    stolen = sealed_for(await sealing.ensure(key))
    with pytest.raises(RefusedError, match=f"a secret can't be opened: {name}: altered, or sealed for another job"):
        await sealing.unseal(key, tenant, job, [Secret(name, stolen.sealed)])


async def test_a_secret_for_another_nodes_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    key, other = tmp_path / "sealing.key", tmp_path / "other.key"
    await sealing.ensure(key)
    with pytest.raises(RefusedError, match=r"DB_PASSWORD is not sealed for this node's key .*: apply the file again"):
        await sealing.unseal(key, "acme", "shop", [sealed_for(await sealing.ensure(other))])


async def test_an_altered_secret_does_not_open_and_the_refusal_does_not_tell_it(tmp_path: Path) -> None:
    key = tmp_path / "sealing.key"
    good = sealed_for(await sealing.ensure(key)).sealed[0]
    flipped = SealedSecret(good.key_id, good.ephemeral, good.ciphertext[:-1] + bytes([good.ciphertext[-1] ^ 1]))
    with pytest.raises(RefusedError) as refusal:
        await sealing.unseal(key, "acme", "shop", [Secret("DB_PASSWORD", (flipped,))])
    text = str(refusal.value)
    assert "hunter2" not in text and base64.b64encode(CONTENT).decode() not in text


async def test_a_disk_that_refuses_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await sealing.ensure(tmp_path / "missing" / "sealing.key")


async def test_a_child_with_a_bug_ends_one_start_and_no_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "sealing.key"
    secret = sealed_for(await sealing.ensure(key))
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(1)")
    monkeypatch.setattr(sealing, "_CHILD", broken)
    with pytest.raises(RefusedError) as refusal:
        await sealing.unseal(key, "acme", "shop", [secret])
    assert refusal.value.reason == "INTERNAL"
