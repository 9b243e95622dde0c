"""Where things are kept below --dir. What leaves the machine (the root key) and what may be copied stand apart."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    directory: Path

    @property
    def root_key(self) -> Path:
        """Signs issuing CAs. Not needed to serve: it belongs on a stick in a safe."""
        return self.directory / "offline" / "root.key"

    @property
    def root(self) -> Path:
        return self.directory / "central" / "root.crt"

    @property
    def issuing_key(self) -> Path:
        return self.directory / "central" / "issuing.key"

    @property
    def issuing(self) -> Path:
        return self.directory / "central" / "issuing.crt"

    @property
    def database(self) -> Path:
        return self.directory / "central" / "central.db"

    @property
    def operator_key(self) -> Path:
        return self.directory / "operator" / "operator.key"

    @property
    def operator_chain(self) -> Path:
        """The operator's certificate and the issuing CA's."""
        return self.directory / "operator" / "operator.crt"

    @property
    def operator_root(self) -> Path:
        return self.directory / "operator" / "root.crt"

    @property
    def address(self) -> Path:
        """host:port of Control and Operator, remembered for edgectl."""
        return self.directory / "operator" / "address"


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` whole: written beside, fsynced, renamed. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
