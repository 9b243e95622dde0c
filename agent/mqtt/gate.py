"""Who may come in at the broker, assembled: accounts, identities, runs' views, certificates, and what makes them so."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from agent.clock import Clock
from agent.errors import AwayError, EdgeError, StorageError
from agent.model import Sink
from agent.mqtt import lists, tenants
from agent.mqtt.access import policy
from agent.mqtt.access.accounts import Accounts, expiring
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.ca import DeviceCa
from agent.mqtt.access.dynsec import RESPONSES, Dynsec
from agent.mqtt.access.identities import Identities
from agent.mqtt.access.lockout import Lockout
from agent.mqtt.access.renewal import FILTER, Renewals
from agent.mqtt.access.secret import password
from agent.mqtt.control import Control
from agent.mqtt.lists import Lists
from agent.mqtt.views import Views

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400.0
_RETRY_SECONDS = 600.0


class Gate:
    """`open` before anything is asked of it; `attach` the control connection before `run`."""

    def __init__(
        self,
        secret: bytes,
        state_dir: Path,
        broker_dir: Path,
        record: Sink,
        clock: Clock,
        forget_device: Callable[[str], bool],
    ) -> None:
        """`secret` is what all passwords are derived from."""
        self._secret = secret
        self._record, self._clock = record, clock
        self._broker_dir = broker_dir
        self._dynsec: Dynsec | None = None
        self._lockout: Lockout | None = None
        self._lists: Lists | None = None
        self._renewals: Renewals | None = None
        self.accounts = Accounts(AccountsFile(state_dir / "accounts.db", clock.wall_nano), self._changed)
        self.views = Views(self._secret, self._changed)
        self._ca = DeviceCa(state_dir, broker_dir, clock)
        self.identities = Identities(
            self.accounts,
            self._ca,
            self._secret,
            clock,
            apply_access=self.apply_access,
            forget_device=forget_device,
        )
        self.on_accounts: list[Callable[[], None]] = []
        """Each is called when accounts have changed, also by `open`."""

    def password(self, user: str) -> str:
        """Of one of the agent's own users."""
        return password(self._secret, "agent", user, 0)

    def attach(self, control: Control, commands: Control) -> None:
        """`control` is the user CONTROL's, and only the broker speaks over it.

        A device or a job that floods the other, COMMANDS', can't keep the agent from throwing it out.
        """
        dynsec = Dynsec(control.publish, lambda: control.connected, self._wanted, self._in_force)
        control.subscribe(RESPONSES, dynsec.receive)
        control.on_connected.append(dynsec.connected)
        self._dynsec = dynsec
        self._lockout = Lockout(self._broker_dir, lambda: control.refused, self._clock)
        self._lists = Lists(partial(control.publish, retain=True), self._listed)
        control.subscribe(lists.FILTER, self._lists.receive, retained=True)
        control.on_connected.append(self._lists.connected)
        self._renewals = Renewals(self.accounts.get, self.identities.put, commands.publish, self._clock)
        commands.subscribe(FILTER, self._renewals.offer)

    def save_broker(self) -> None:
        """The broker writes what it knows, now. If it can't be told, it does within its autosave_interval."""
        try:
            self._ca.reload()
        except StorageError as why:
            log.warning("the broker can't be told to save", extra={"reason": why})

    async def open(self) -> None:
        """Raises StorageError."""
        await self.accounts.open()
        self._changed()

    async def apply_access(self) -> None:
        """What accounts and views say is in force at the broker when it returns. Raises AwayError."""
        if self._dynsec is None:
            raise AwayError("the broker is away")
        await self._dynsec.apply()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._dynsec is not None:
                group.create_task(self._dynsec.run(), name="mqtt-access")
            if self._lockout is not None:
                group.create_task(self._lockout.run(), name="mqtt-lockout")
            if self._renewals is not None:
                group.create_task(self._renewals.run(), name="mqtt-renewals")
            if self._lists is not None:
                group.create_task(self._lists.run(), name="mqtt-lists")
            group.create_task(self._keep_certificates(), name="mqtt-certificates")

    async def close(self) -> None:
        await self.accounts.close()

    async def _keep_certificates(self) -> None:
        told_unix_nano = 0
        while True:
            delay = _DAY_SECONDS
            now = self._clock.wall_nano()
            try:
                await self.identities.ensure_ca()
                if events := expiring(self.accounts.all(), now, told_unix_nano):
                    await self._record(events)
                    told_unix_nano = now
            except EdgeError as why:
                log.warning("devices' certificates can't be looked after", extra={"reason": why})
                delay = _RETRY_SECONDS
            await asyncio.sleep(delay)

    def _wanted(self) -> policy.Access:
        accounts = {account.id: account for account in self.accounts.all()}
        views = self.views.now
        jobs = tenants.users(self._secret, views or (), accounts.values())
        return policy.Access(self._secret, accounts, jobs, views)

    def _listed(self) -> Mapping[str, bytes] | None:
        views = self.views.now
        return None if views is None else tenants.documents(views, self.accounts.all())

    async def _in_force(self, access: policy.Access | None) -> None:
        if access is None or access.views is not None:
            await self.views.in_force(None if access is None else access.views)

    def _changed(self) -> None:
        for each in self.on_accounts:
            each()
        if self._dynsec is not None:
            self._dynsec.changed()
        if self._lists is not None:
            self._lists.changed()
