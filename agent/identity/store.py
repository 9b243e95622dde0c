"""The node's identity on disk: a directory for each certificate, and a symlink that names the one in force.

state_dir/identity/         0700
    000001/                 key.pem 0600 (locked where there is a TPM: lock.py), chain.pem, bundle.pem, identity.json
    current -> 000002       swapped by rename: after a crash the old or the new identity is whole
    previous -> 000001      kept until the new one has completed a session
    .new-*                  being made; a crash leaves it, the next `staging` removes it
    .kept-WORD              the same, found again by the next `staging` with this word
"""

import contextlib
import fcntl
import json
import os
import shutil
import ssl
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import ConfigError, CorruptError, RefusedError, StorageError
from agent.fsio import sync_directory, write_atomic
from agent.identity import keys, spiffe
from agent.identity.keys import Facts

_LOCKED = b"-----BEGIN ENCRYPTED"
_REMEDY = "get a token with `edgectl token create`, then: edge-agent enrol --central HOST:PORT --token TOKEN"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, and how it proves it. PEM texts are as gRPC takes them."""

    spiffe_id: str
    trust_domain: str
    store: str
    node: str
    control_address: str
    central_spiffe_id: str
    not_before_unix_nano: int
    not_after_unix_nano: int
    directory: Path  # with key.pem, chain.pem and bundle.pem, for those that take files
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    bundle_pem: bytes = field(repr=False)
    secret: bytes = field(default=b"", repr=False)  # opens key.pem where that is locked (lock.py)


def load(state_dir: Path, secret: bytes = b"") -> Identity:
    """The identity in force; `secret` opens its key if that is locked.

    Raises ConfigError when the box is not enrolled (or this user may not know), or the key doesn't open; CorruptError
    when files are broken.
    """
    return _read(_current(state_dir), secret)


def look(state_dir: Path) -> Identity:
    """As `load`, with the key as it is on disk, locked or not: for those who only want to know who this is."""
    return _read(_current(state_dir), None)


def is_locked(identity: Identity) -> bool:
    """Whether the key of what `look` gave is locked on disk."""
    return identity.key_pem.startswith(_LOCKED)


def _current(state_dir: Path) -> Path:
    root = state_dir / "identity"
    try:
        target = (root / "current").readlink()
    except FileNotFoundError:
        raise ConfigError(f"this box is not enrolled: {root / 'current'} does not exist; {_REMEDY}") from None
    except PermissionError:
        raise ConfigError(f"{root} can't be read by this user; run as its owner or as root") from None
    except OSError as error:
        raise CorruptError(f"{root / 'current'}: {error.strerror}; enrol again with --force") from None
    return root / target.name


def is_enrolled(state_dir: Path) -> bool:
    return os.path.lexists(state_dir / "identity" / "current")


@contextlib.contextmanager
def staging(state_dir: Path, word: str = "") -> Generator[Path]:
    """An empty directory for the key of the next identity, removed unless `install` takes it. One at a time.

    With a `word` it stays until `install` takes it, and the next call with this word finds it as it was left, also
    after a power cut.

    Raises ConfigError (no state directory), RefusedError(CONFLICT) when another process is at it, StorageError.
    """
    root = state_dir / "identity"
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ConfigError(f"{state_dir} does not exist; [node] state_dir names it, and the package makes it") from None
    except OSError as error:
        raise StorageError(f"{root}: {error.strerror}") from error
    try:
        staged = _begin(root, lock, f".kept-{word}" if word else "")
        try:
            yield staged
        finally:
            if not word:
                shutil.rmtree(staged, ignore_errors=True)
    finally:
        os.close(lock)


def _begin(root: Path, lock: int, kept: str) -> Path:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_unnamed(root, kept)
        if kept:
            (root / kept).mkdir(mode=0o700, exist_ok=True)
            return root / kept
        return Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    except BlockingIOError:
        raise RefusedError("CONFLICT", "another enrolment or renewal is at work on this box") from None
    except OSError as error:
        raise StorageError(f"{root}: {error}") from error


def install(
    state_dir: Path,
    staged: Path,
    facts: Facts,
    *,
    chain_der: Sequence[bytes],
    bundle_der: Sequence[bytes],
    control_address: str,
    central_spiffe_id: str,
    secret: bytes = b"",
) -> Identity:
    """Make the staged key and this certificate the identity in force; it is durable when this returns.

    `facts` are of the leaf, checked: one URI, a node's SPIFFE id; `secret` opens the key if it is locked. Raises
    StorageError; the old identity then stays.
    """
    root = state_dir / "identity"
    (uri,) = facts.uris
    node = spiffe.parse(uri)
    document = {
        "spiffe_id": uri,
        "trust_domain": node.trust_domain,
        "store": node.store,
        "node": node.node,
        "control_address": control_address,
        "central_spiffe_id": central_spiffe_id,
        "not_before_unix_nano": facts.not_before_unix_nano,
        "not_after_unix_nano": facts.not_after_unix_nano,
    }
    try:
        write_atomic(staged / "chain.pem", _pem(chain_der))
        write_atomic(staged / "bundle.pem", _pem(bundle_der))
        write_atomic(staged / "identity.json", json.dumps(document, indent=2).encode() + b"\n")
        version = root / f"{max(_versions(root), default=0) + 1:06d}"
        staged.rename(version)
        sync_directory(root)
        if is_enrolled(state_dir):
            _point(root, "previous", (root / "current").readlink().name)
        _point(root, "current", version.name)
    except OSError as error:
        raise StorageError(f"the new identity can't be stored: {error}") from error
    return _read(version, secret)


def forget_previous(state_dir: Path) -> None:
    """The identity in force has completed a session: remove the one before it. Raises StorageError."""
    root = state_dir / "identity"
    try:
        (root / "previous").unlink(missing_ok=True)
        _remove_unnamed(root)
    except OSError as error:
        raise StorageError(f"the previous identity can't be removed: {error}") from error


def revert(state_dir: Path, secret: bytes = b"") -> Identity | None:
    """Back to the previous identity, because central refuses the new one; None when there is no other.

    Raises StorageError, CorruptError, ConfigError: the new one stays in force.
    """
    root = state_dir / "identity"
    try:
        target = (root / "previous").readlink().name
        if target == (root / "current").readlink().name:
            return None
        identity = _read(root / target, secret)
        _point(root, "current", target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"the previous identity can't be put back: {error}") from error
    return identity


def _read(directory: Path, secret: bytes | None) -> Identity:
    """`secret` None: the key is left as it is on disk."""
    try:
        document: dict[str, Any] = json.loads((directory / "identity.json").read_bytes())
        key, chain, bundle = [_read_pem(directory / name) for name in ("key.pem", "chain.pem", "bundle.pem")]
        if secret is not None and key.startswith(_LOCKED):
            key = keys.unlock(directory / "key.pem", secret)
        return Identity(
            **document, directory=directory, key_pem=key, chain_pem=chain, bundle_pem=bundle, secret=secret or b""
        )
    except PermissionError as error:
        raise ConfigError(f"{error.filename} can't be read by this user; run as its owner or as root") from None
    except (OSError, ValueError, TypeError) as error:
        raise CorruptError(f"{directory} is broken: {error}; enrol again with --force") from error


def _read_pem(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(b"-----BEGIN "):
        raise ValueError(f"{path.name} is not PEM")
    return data


def _versions(root: Path) -> list[int]:
    return [int(path.name) for path in root.iterdir() if path.name.isdecimal()]


def _remove_unnamed(root: Path, kept: str = "") -> None:
    """Leftovers of a crash: whatever neither symlink names, and isn't `kept`."""
    named = {kept} | {(root / link).readlink().name for link in ("current", "previous") if (root / link).is_symlink()}
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in named:
            shutil.rmtree(path)
    sync_directory(root)


def _point(root: Path, link: str, target: str) -> None:
    beside = root / f".{link}.new"
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.rename(root / link)
    sync_directory(root)


def _pem(certificates: Sequence[bytes]) -> bytes:
    return "".join(ssl.DER_cert_to_PEM_cert(each) for each in certificates).encode()
