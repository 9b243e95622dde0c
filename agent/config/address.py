"""HOST:PORT, as people write it in files and on the command line."""

import re

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")


def split(text: str) -> tuple[str, int]:
    """Host without brackets, and port 1..65535; an IPv6 address needs brackets. Raises ValueError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return found["host"].strip("[]"), int(found["port"])
