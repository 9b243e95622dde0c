"""A device gets an identity at this store's broker, another one, or none: durable here first, then in force there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.model import Credential
from agent.mqtt.access.accounts import Account, Accounts, IssuedCertificate
from agent.mqtt.access.ca import Certificate, DeviceCa, Wish
from agent.mqtt.access.registration import DEFAULT_DAYS, judge, registered, wants_certificate, wants_generation
from agent.mqtt.access.secret import password
from agent.orders import DeviceIdentity, DeviceOrder, IssuedDevices, NewCredential

log = logging.getLogger(__name__)


class Identities:
    """PutDevice and RevokeDevice.

    `apply_access` brings the broker to what `accounts` say: AwayError when it isn't there (it will be, later).
    `forget_device` takes a device out of the registry, and says whether it was there.
    """

    def __init__(
        self,
        accounts: Accounts,
        ca: DeviceCa,
        secret: bytes,
        clock: Clock,
        *,
        apply_access: Callable[[], Awaitable[None]],
        forget_device: Callable[[str], bool],
    ) -> None:
        self._accounts, self._ca, self._secret, self._clock = accounts, ca, secret, clock
        self._apply_access, self._forget_device = apply_access, forget_device
        self._is_unlisted = False  # a certificate was revoked, and the CRL doesn't say so yet
        self._lock = asyncio.Lock()  # one order at a time: each builds on what the account was

    async def put(self, orders: Sequence[DeviceOrder], *, check: bool = False) -> IssuedDevices:
        """All of them, or none. With `check` nothing is done.

        Raises RefusedError (`judge` says which; a request that is no good), StorageError, AwayError (no child
        process); then nothing has changed.
        """
        async with self._lock:
            known = {account.id: account for account in self._accounts.all()}
            judge(orders, known)
            wishes = [
                Wish(order.device, order.csr_der if order.credential is NewCredential.CSR else b"", _days(order))
                for order in orders
                if wants_certificate(order)
            ]
            if check:
                if wishes:
                    await self._ca.check(wishes)
                return IssuedDevices((), b"", in_force=False)
            ca_der, certificates = await self._certificates(orders, wishes)
            fresh = [order.device for order in orders if wants_generation(order, known.get(order.device))]
            first = await self._accounts.take_generations(len(fresh)) if fresh else 0
            generations = {device: first + number for number, device in enumerate(fresh)}
            accounts = [
                _account(order, known.get(order.device), certificates, generations, self._clock.wall_nano())
                for order in orders
            ]
            disowned = [name for name in fresh if name in known]
            issued = [IssuedCertificate(c.serial, device, c.not_after_unix_nano) for device, c in certificates.items()]
            held = all(order.hold for order in orders)
            await self._accounts.put(accounts, issued, disowned, quiet=held)
            self._is_unlisted = self._is_unlisted or bool(disowned)
            in_force = not held and await self._enforce()
        identities = tuple(
            self._identity(order, account, certificates) for order, account in zip(orders, accounts, strict=True)
        )
        return IssuedDevices(identities, ca_der, in_force)

    async def revoke(self, device: str, *, forget: bool) -> bool:
        """The device is thrown out and can't come back; True when the broker knows already.

        Raises RefusedError(NOT_FOUND) for a device without an account (nor in the registry, with `forget`),
        StorageError.
        """
        async with self._lock:
            account = self._accounts.get(device)
            if account is None:
                if not (forget and self._forget_device(device)):
                    raise RefusedError("NOT_FOUND", f"{device[:64]!r} is not registered here")
                return True
            gone = replace(account, credential=Credential.REVOKED, password_generation=0, certificate_serial="")
            await self._accounts.put([replace(gone, certificate_not_after_unix_nano=0)], disown=[device])
            if forget:
                await self._accounts.forget(device)
                self._forget_device(device)
            self._is_unlisted = True
            return await self._enforce()

    async def ensure_ca(self) -> None:
        """CA, the broker's certificate and CRL are there and good. At start, and once a day."""
        await self._ca.ensure(await self._accounts.revoked(self._clock.wall_nano()))

    def password(self, account: Account) -> str:
        """Empty when the device has none."""
        if account.credential is not Credential.PASSWORD:
            return ""
        return password(self._secret, "device", account.id, account.password_generation)

    async def _certificates(
        self, orders: Sequence[DeviceOrder], wishes: Sequence[Wish]
    ) -> tuple[bytes, dict[str, Certificate]]:
        if all(order.credential is NewCredential.NONE for order in orders):
            return b"", {}  # nobody is handed anything
        ca_der, certificates = await self._ca.issue(wishes)
        return ca_der, {wish.device: each for wish, each in zip(wishes, certificates, strict=True)}

    async def _enforce(self) -> bool:
        """At the broker: who may do what, at once; then the list of revoked certificates, which TLS looks at."""
        known = True
        for step in (self._apply_access, self._list_revoked):
            try:
                await step()
            except (AwayError, StorageError, RefusedError) as why:
                log.warning("devices have changed, the broker doesn't know yet", extra={"reason": why})
                known = False
        return known

    async def _list_revoked(self) -> None:
        if self._is_unlisted:
            await self._ca.revoke(await self._accounts.revoked(self._clock.wall_nano()))
            self._is_unlisted = False

    def _identity(self, order: DeviceOrder, account: Account, certificates: dict[str, Certificate]) -> DeviceIdentity:
        if order.credential is NewCredential.PASSWORD:
            return DeviceIdentity(account.id, password=self.password(account))
        issued = certificates.get(account.id)
        if issued is None:
            return DeviceIdentity(account.id)
        return DeviceIdentity(account.id, issued.der, issued.not_after_unix_nano, issued.key_der)


def _days(order: DeviceOrder) -> int:
    return order.days or DEFAULT_DAYS


def _account(
    order: DeviceOrder,
    known: Account | None,
    certificates: dict[str, Certificate],
    generations: dict[str, int],
    now_unix_nano: int,
) -> Account:
    account = registered(order, known, now_unix_nano)
    if (issued := certificates.get(order.device)) is not None:
        return replace(
            account,
            credential=Credential.CERTIFICATE,
            password_generation=0,
            certificate_serial=issued.serial,
            certificate_not_after_unix_nano=issued.not_after_unix_nano,
        )
    if (generation := generations.get(order.device)) is not None:
        return replace(
            account,
            credential=Credential.PASSWORD,
            password_generation=generation,
            certificate_serial="",
            certificate_not_after_unix_nano=0,
        )
    return account
