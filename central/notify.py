"""One word to systemd (sd_notify(3)): ready, stopping."""

import os
import socket


def notify(state: str) -> None:
    """Send `state` to $NOTIFY_SOCKET, if there is one. Raises OSError."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(state.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
