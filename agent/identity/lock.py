"""The secret that the node's key is locked with on disk: only this machine's TPM gives it (docs/decisions/0083).

It is a credential of systemd's, sealed to the TPM (systemd-creds(1)). A unit is handed it in a directory that is on no
disk; root opens it by hand to enrol. Without a TPM there is none, and the key is a file of mode 0600.
"""

import base64
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

from agent.errors import StorageError
from agent.fsio import sync_directory, write_atomic

NAME = "edge-agent-key"
FILE = Path("/etc/credstore.encrypted") / NAME  # where systemd looks for LoadCredentialEncrypted=edge-agent-key
TPM = Path("/sys/class/tpmrm/tpmrm0")  # the kernel has one of version 2.0
_SECONDS = 30.0  # a TPM on a slow bus takes one


def given(environ: Mapping[str, str]) -> bytes:
    """The secret as systemd hands it to a unit; empty when there is none."""
    try:
        return (Path(environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / NAME).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StorageError(f"credential {NAME} can't be read: {error.strerror}") from error


def opened(file: Path = FILE) -> bytes:
    """The secret in `file`, by this machine's TPM; empty when it doesn't open here. Needs root."""
    done = _creds("decrypt", f"--name={NAME}", str(file), "-")
    return done.stdout if done.returncode == 0 else b""


def ensure(file: Path = FILE) -> bytes:
    """The secret for a new key: the one there is, else a new one; empty where nothing can be sealed. Needs root.

    One that doesn't open here was sealed by another machine, or by this one before its TPM was cleared. It is set
    aside, because systemd starts no unit whose credential doesn't open. When central then refuses the token and the
    disk goes back to where it came from, systemd/bin/edge-agent-key finds it again. Raises StorageError.
    """
    try:
        if file.exists():
            if found := opened(file):
                return found
            aside = len(list(file.parent.glob(f".{NAME}.before-*")))
            file.rename(file.with_name(f".{NAME}.before-{aside + 1}"))
            sync_directory(file.parent)
        # Not `systemd-creds has-tpm2`: it wants EFI as well, and sealing works without.
        return _sealed(file) if TPM.exists() else b""
    except OSError as error:
        raise StorageError(f"{error.filename or file}: {error.strerror}") from error


def _sealed(file: Path) -> bytes:
    """A new secret, on disk before anything is locked with it; empty when the TPM refuses."""
    secret = base64.b64encode(secrets.token_bytes(32))
    done = _creds("encrypt", "--with-key=tpm2", f"--name={NAME}", "-", "-", stdin=secret)
    if done.returncode != 0:
        return b""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(file, done.stdout)
    if opened(file) != secret:
        file.unlink()
        sync_directory(file.parent)
        return b""
    return secret


def _creds(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["systemd-creds", *words],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(error.args, 1, b"", str(error).encode())
