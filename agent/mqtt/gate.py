"""Who may come in at the broker, assembled: accounts, identities, runs' views, certificates, and what makes them so."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from agent.clock import Clock
from agent.errors import AwayError, EdgeError, StorageError
from agent.model import Sink
from agent.mqtt import lists, tenants
from agent.mqtt.access import policy
from agent.mqtt.access.accounts import Account, Accounts, expiring
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.access.ca import DeviceCa
from agent.mqtt.access.dynsec import RESPONSES, Dynsec
from agent.mqtt.access.identities import Identities
from agent.mqtt.access.lockout import Lockout
from agent.mqtt.access.renewal import FILTER, Renewals
from agent.mqtt.access.secret import password
from agent.mqtt.control import Control
from agent.mqtt.lists import Lists
from agent.mqtt.retained import COUNT, STORED, Retained
from agent.mqtt.views import Views

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400.0
_RETRY_SECONDS = 600.0
_SHUT_OUT_SECONDS = 600.0


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
        self._retained: Retained | None = None
        # Devices that are kept away from the broker until then (Clock.seconds), and tenants by their last run.
        self._shut_out: dict[str, float] = {}
        self._tenants_seen: dict[str, float] = {}
        self._began = clock.seconds()
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

    def attach(self, control: Control, commands: Control, retained: Callable[[], Control]) -> None:
        """`control` is the user CONTROL's, and only the broker speaks over it.

        A device or a job that floods the others, COMMANDS' and those that `retained` makes for RETAINED, can't keep the
        agent from throwing it out.
        """
        dynsec = Dynsec(control.publish, lambda: control.connected, self._wanted, self._in_force)
        control.subscribe(RESPONSES, dynsec.receive)
        control.on_connected.append(dynsec.connected)
        self._dynsec = dynsec
        self._lockout = Lockout(self._broker_dir, lambda: control.refused, self._clock)
        self._lists = Lists(partial(control.publish, retain=True), self._listed)
        control.subscribe(lists.FILTER, self._lists.receive, retained=True)
        control.on_connected.append(self._lists.connected)
        self._retained = Retained(retained, self._accounts_by_id, self._tenants, self._keep_out, self._record)
        for number in (COUNT, STORED):
            control.subscribe(number, self._retained.number)
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
            if self._retained is not None:
                group.create_task(self._retained.run(), name="mqtt-retained")
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
        accounts = self._accounts_by_id()
        views = self.views.now
        jobs = tenants.users(self._secret, views or (), accounts.values())
        now = self._clock.seconds()
        for device in [device for device, until in self._shut_out.items() if until <= now]:
            del self._shut_out[device]
        let_in = {name: account for name, account in accounts.items() if name not in self._shut_out}
        return policy.Access(self._secret, let_in, jobs, views)

    def _accounts_by_id(self) -> dict[str, Account]:
        return {account.id: account for account in self.accounts.all()}

    def _tenants(self) -> Collection[str] | None:
        """Those with a run, or that had one within a day: what a job left is there for its next run."""
        now = self._clock.seconds()
        self._tenants_seen.update((view.tenant, now) for view in self.views.now or ())
        if self.views.now is None or now - self._began < _DAY_SECONDS:
            return None
        return {tenant for tenant, at in self._tenants_seen.items() if now - at < _DAY_SECONDS}

    def _keep_out(self, device: str) -> None:
        """From the broker, for a while. A restart of the agent lets it in."""
        self._shut_out[device] = self._clock.seconds() + _SHUT_OUT_SECONDS
        if self._dynsec is not None:
            self._dynsec.changed()
            asyncio.get_running_loop().call_later(_SHUT_OUT_SECONDS + 1, self._dynsec.changed)

    def _listed(self) -> Mapping[str, bytes] | None:
        views = self.views.now
        return None if views is None else tenants.documents(views, self.accounts.all())

    async def _in_force(self, access: policy.Access | None) -> None:
        if access is None or access.views is not None:
            await self.views.in_force(None if access is None else access.views)

    def _changed(self) -> None:
        self._tenants()  # notes who has runs now
        for each in self.on_accounts:
            each()
        if self._dynsec is not None:
            self._dynsec.changed()
        if self._lists is not None:
            self._lists.changed()
        if self._retained is not None:
            self._retained.changed()
