"""agent/identity/store.py."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from agent.errors import ConfigError, CorruptError, RefusedError, StorageError
from agent.identity import store
from agent.identity.keys import Facts
from agent.identity.store import Identity
from tests.fakes.authority import CENTRAL_ID, NODE_ID

FACTS = Facts((NODE_ID,), 5, 9)


def install(state_dir: Path, mark: bytes = b"1") -> Identity:
    with store.staging(state_dir) as staged:
        (staged / "key.pem").write_bytes(b"-----BEGIN " + mark)
        return store.install(
            state_dir,
            staged,
            FACTS,
            chain_der=[b"leaf", b"issuing"],
            bundle_der=[b"root"],
            control_address="central:8443",
            central_spiffe_id=CENTRAL_ID,
        )


def names(state_dir: Path) -> list[str]:
    return sorted(path.name for path in (state_dir / "identity").iterdir())


def test_what_is_installed_is_loaded(tmp_path: Path) -> None:
    installed = install(tmp_path)
    assert store.load(tmp_path) == installed
    assert (installed.spiffe_id, installed.trust_domain) == (NODE_ID, "shop.example")
    assert (installed.store, installed.node) == ("s1", "n1")
    assert (installed.control_address, installed.central_spiffe_id) == ("central:8443", CENTRAL_ID)
    assert (installed.not_before_unix_nano, installed.not_after_unix_nano) == (5, 9)
    assert installed.chain_pem.count(b"-----BEGIN CERTIFICATE-----") == 2
    assert installed.bundle_pem.count(b"-----BEGIN CERTIFICATE-----") == 1


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    identity = install(tmp_path)
    assert identity.directory.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o700


def test_the_key_does_not_show_when_an_identity_is_printed(tmp_path: Path) -> None:
    assert "BEGIN" not in repr(install(tmp_path))


def test_a_box_that_is_not_enrolled_says_what_to_do(tmp_path: Path) -> None:
    assert not store.is_enrolled(tmp_path)
    with pytest.raises(ConfigError, match=r"not enrolled: .* edge-agent enrol --central HOST:PORT --token TOKEN"):
        store.load(tmp_path)


def test_a_missing_state_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing does not exist"):
        install(tmp_path / "missing")


def test_the_previous_identity_is_kept_until_the_new_one_has_proved_itself(tmp_path: Path) -> None:
    first, second = install(tmp_path, b"1"), install(tmp_path, b"2")
    assert store.load(tmp_path) == second
    assert first.directory.is_dir()
    store.forget_previous(tmp_path)
    assert names(tmp_path) == ["000002", "current"]
    assert store.load(tmp_path) == second
    store.forget_previous(tmp_path)
    assert store.load(tmp_path) == second


def test_a_refused_identity_gives_way_to_the_previous_one(tmp_path: Path) -> None:
    assert store.revert(tmp_path) is None
    first = install(tmp_path, b"1")
    assert store.revert(tmp_path) is None
    install(tmp_path, b"2")
    assert store.revert(tmp_path) == first
    assert store.load(tmp_path) == first
    assert store.revert(tmp_path) is None
    store.forget_previous(tmp_path)
    assert names(tmp_path) == ["000001", "current"]


def test_a_disk_that_keeps_the_previous_one_from_being_put_back_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, b"1")
    second = install(tmp_path, b"2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_point", full)
    with pytest.raises(StorageError, match="No space left"):
        store.revert(tmp_path)
    assert store.load(tmp_path) == second


def test_a_kept_staging_is_found_again_by_its_word_and_no_other(tmp_path: Path) -> None:
    with store.staging(tmp_path, "one") as staged:
        (staged / "key.pem").write_bytes(b"secret")
    with store.staging(tmp_path, "one") as again:
        assert (again / "key.pem").read_bytes() == b"secret"
    with store.staging(tmp_path, "two"):
        pass
    assert names(tmp_path) == [".kept-two"]


def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    install(tmp_path)

    def fail() -> None:
        with store.staging(tmp_path) as staged:
            (staged / "key.pem").write_bytes(b"secret")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == ["000001", "current"]


def test_what_a_crash_left_is_ignored_and_then_removed(tmp_path: Path) -> None:
    first = install(tmp_path)
    root = tmp_path / "identity"
    (root / ".new-abc").mkdir()
    (root / ".new-abc" / "key.pem").write_text("half")
    shutil.copytree(root / "000001", root / "000007")
    (root / ".current.new").symlink_to("000007")
    assert store.load(tmp_path) == first
    second = install(tmp_path)
    assert names(tmp_path) == ["000001", "000002", "current", "previous"]
    assert store.load(tmp_path) == second


def test_a_crash_at_any_step_leaves_the_old_or_the_new_identity_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        pass

    replace, rename, fsync, symlink = Path.replace, Path.rename, os.fsync, os.symlink
    left = 0

    def counted(call):  # type: ignore[no-untyped-def]
        def step(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                raise PowerCut
            return call(*args, **kwargs)

        return step

    seen, step = set(), 0
    while True:
        state = tmp_path / str(step)
        state.mkdir()
        old = install(state, b"old")
        left = step
        with monkeypatch.context() as patch:
            for owner, name, call in (
                (Path, "replace", replace),
                (Path, "rename", rename),
                (os, "fsync", fsync),
                (os, "symlink", symlink),
            ):
                patch.setattr(owner, name, counted(call))
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # after a power cut nobody tidies up
            try:
                new = install(state, b"new")
            except PowerCut:
                new = None
        loaded = store.load(state)
        seen.add(loaded.key_pem)
        assert loaded == (new or loaded)
        assert loaded.key_pem in (b"-----BEGIN old", b"-----BEGIN new")
        assert old.directory.is_dir()
        assert install(state, b"third") == store.load(state)
        if new is not None:
            break
        step += 1
    assert step > 8
    assert len(seen) == 2


def test_a_full_disk_leaves_the_old_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = install(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        install(tmp_path)
    monkeypatch.undo()
    assert store.load(tmp_path) == first


def test_two_can_not_make_one_at_the_same_time(tmp_path: Path) -> None:
    with store.staging(tmp_path), pytest.raises(RefusedError, match="another enrolment or renewal"):
        install(tmp_path)
    install(tmp_path)


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem", "identity.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_broken_file_is_named_with_a_remedy(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = install(tmp_path).directory / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CorruptError, match=r"000001 is broken: .*enrol again with --force"):
        store.load(tmp_path)


def test_the_document_beside_the_certificate_holds_what_the_daemon_can_not_read_from_it(tmp_path: Path) -> None:
    identity = install(tmp_path)
    document = json.loads((identity.directory / "identity.json").read_text())
    told = dataclasses.asdict(identity)
    assert document == {key: told[key] for key in document}
    assert document["spiffe_id"] == NODE_ID
