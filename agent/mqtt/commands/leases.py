"""Who may command a device now: the first who did, for a while; the store before everybody. Pure."""

from collections import OrderedDict
from dataclasses import dataclass

# Long enough for open, wait, close by one tenant; short enough that a tenant that has gone holds nothing up.
LEASE_SECONDS = 10.0
# Devices held at once; each is some 200 bytes.
MAX_LEASES = 4096

# The holder that stands for operators, people in the store, central and the jobs of the store's own tenant.
STORE = ""


@dataclass(frozen=True, slots=True)
class _Lease:
    holder: str
    until_seconds: float


class Leases:
    """A lease is taken with a command, renewed by each, and ends `LEASE_SECONDS` after the last.

    They are not on disk: after a restart the first who commands has the device.
    """

    def __init__(self, limit: int = MAX_LEASES) -> None:
        self._limit = limit
        self._leases: OrderedDict[str, _Lease] = OrderedDict()  # in the order of their ends

    def holder(self, device: str, now: float) -> str | None:
        """A tenant, STORE, or None."""
        lease = self._leases.get(device)
        return lease.holder if lease is not None and now < lease.until_seconds else None

    def free(self, device: str, who: str, now: float) -> bool:
        """Whether `who` could take it."""
        return who == STORE or self.holder(device, now) in {None, who}

    def take(self, device: str, who: str, now: float) -> str | None:
        """None when `who` holds it from now on, else why not, in words that name no other tenant.

        STORE takes it from anybody at once.
        """
        while self._leases and next(iter(self._leases.values())).until_seconds <= now:
            self._leases.popitem(last=False)
        if not self.free(device, who, now):
            other = "the store" if self.holder(device, now) == STORE else "another tenant"
            return f"{other} commands device {device} now; try again in {LEASE_SECONDS:g} s"
        if device not in self._leases and len(self._leases) >= self._limit:
            if who != STORE:
                return f"{self._limit} devices are being commanded"
            self._leases.popitem(last=False)
        self._leases[device] = _Lease(who, now + LEASE_SECONDS)
        self._leases.move_to_end(device)
        return None
