"""Who is registered at this store's broker: one account for each device. On disk first, then in memory."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.model import Credential, DeviceProtocol, Event

DAY_NANO = 86_400 * 1_000_000_000
WARN_DAYS = 30


@dataclass(frozen=True, slots=True)
class Account:
    """`password_generation` is the one that is good; `certificate_serial` (hex) and its end are of the newest."""

    id: str
    zone: str = ""
    device_class: str = ""
    protocol: DeviceProtocol = DeviceProtocol.NATIVE
    group: str = ""
    credential: Credential = Credential.NONE
    password_generation: int = 0
    certificate_serial: str = ""
    certificate_not_after_unix_nano: int = 0
    silent_after_seconds: int = 0
    created_unix_nano: int = 0


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """What must be known of a certificate to revoke it one day."""

    serial: str
    device: str
    not_after_unix_nano: int


class AccountsStore(Protocol):
    """accounts_file.AccountsFile. Blocks; each call is one transaction, durable when it returns, or StorageError."""

    def load(self) -> tuple[Account, ...]: ...
    def put(
        self, accounts: Sequence[Account], certificates: Sequence[IssuedCertificate], disown: Sequence[str]
    ) -> None: ...
    def forget(self, device: str) -> None: ...
    def revoked(self, now_unix_nano: int) -> tuple[str, ...]: ...
    def take_generations(self, count: int) -> int: ...
    def close(self) -> None: ...


class Accounts:
    """`changed` is called after every change, when it is durable and `get` and `all` tell it."""

    def __init__(self, file: AccountsStore, changed: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._accounts: Mapping[str, Account] = {}
        self._lock = asyncio.Lock()
        self.changed = changed

    async def open(self) -> None:
        """Before anything else. Raises StorageError."""
        self._accounts = {account.id: account for account in await asyncio.to_thread(self._file.load)}

    def get(self, device: str) -> Account | None:
        return self._accounts.get(device)

    def all(self) -> tuple[Account, ...]:
        """By id."""
        return tuple(self._accounts[name] for name in sorted(self._accounts))

    async def put(
        self,
        accounts: Sequence[Account],
        certificates: Sequence[IssuedCertificate] = (),
        disown: Sequence[str] = (),
        *,
        quiet: bool = False,
    ) -> None:
        """All of them or, with StorageError, none. Every earlier certificate of devices in `disown` is revoked.

        `quiet`: `changed` is not called; it will be with the next change.
        """
        async with self._lock:
            await asyncio.to_thread(self._file.put, accounts, certificates, disown)
            self._accounts = {**self._accounts, **{account.id: account for account in accounts}}
        if not quiet:
            self.changed()

    async def forget(self, device: str) -> None:
        """The account is gone; its certificates stay revoked until they expire. Raises StorageError."""
        async with self._lock:
            await asyncio.to_thread(self._file.forget, device)
            self._accounts = {name: account for name, account in self._accounts.items() if name != device}
        self.changed()

    async def revoked(self, now_unix_nano: int) -> tuple[str, ...]:
        """Serials (hex) of all revoked certificates that haven't expired: what a CRL lists. Raises StorageError."""
        async with self._lock:
            return await asyncio.to_thread(self._file.revoked, now_unix_nano)

    async def take_generations(self, count: int) -> int:
        """The first of `count` numbers that no password ever had: one that was revoked never comes back."""
        async with self._lock:
            return await asyncio.to_thread(self._file.take_generations, count)

    async def close(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._file.close)


def expiring(accounts: Iterable[Account], now_unix_nano: int, told_unix_nano: int) -> tuple[Event, ...]:
    """An event for each certificate that ends within 30 days or has ended; none within a day of `told_unix_nano`.

    The caller keeps the time of the last events in memory: after a restart they are told once more.
    """
    if told_unix_nano and now_unix_nano - told_unix_nano < DAY_NANO:
        return ()
    return tuple(
        Event(
            "device.certificate-expiring",
            message=f"the certificate of {account.id} {_ends(account.certificate_not_after_unix_nano, now_unix_nano)}",
            attributes={"device": account.id, "not_after_unix_nano": str(account.certificate_not_after_unix_nano)},
        )
        for account in accounts
        if account.credential is Credential.CERTIFICATE
        and account.certificate_not_after_unix_nano - now_unix_nano < WARN_DAYS * DAY_NANO
    )


def _ends(not_after_unix_nano: int, now_unix_nano: int) -> str:
    days = (not_after_unix_nano - now_unix_nano) // DAY_NANO
    return f"ends in {days} days" if days >= 0 else f"ended {-days} days ago"
