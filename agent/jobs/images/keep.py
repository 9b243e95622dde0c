"""Which images are forgotten when room is short. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """An image on this box: what it takes fetched and unpacked, when it was last used, whether a job names it."""

    digest: str
    disk_bytes: int
    last_used_unix_nano: int
    wanted: bool


def forget(images: Iterable[Kept], limit_bytes: int) -> tuple[str, ...]:
    """The digests to forget, the longest unused first, until the rest is within the limit.

    An image that a desired job names is never among them, however much is over.
    """
    known = list(images)
    over = sum(image.disk_bytes for image in known) - limit_bytes
    gone: list[str] = []
    for image in sorted(known, key=lambda image: (image.last_used_unix_nano, image.digest)):
        if over <= 0:
            break
        if not image.wanted and image.disk_bytes > 0:
            gone.append(image.digest)
            over -= image.disk_bytes
    return tuple(gone)
