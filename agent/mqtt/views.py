"""What jobs are known to have at the broker, between those who run them and those who make the broker so."""

import asyncio
from collections.abc import Callable

from agent.mqtt import tenants
from agent.spec import JobSpec, MqttView

_IN_FORCE_SECONDS = 2.0  # a start waits so long for a broker that is busy, or comes back from a restart


class Views:
    """`now` is None until the jobs service has told for the first time: what the broker has of jobs is then left alone.

    `secret` is that of access/secret.py. `changed` is called when something else should be in force.
    """

    def __init__(self, secret: bytes, changed: Callable[[], None] = lambda: None) -> None:
        self._secret = secret
        self.changed = changed
        self.now: frozenset[MqttView] | None = None
        self._in_force: frozenset[str] = frozenset()
        self._moved = asyncio.Condition()

    def tell(self, views: frozenset[MqttView]) -> None:
        """For jobs/grants.py: these, and no others."""
        self.now = views
        self.changed()

    async def in_force(self, views: frozenset[MqttView] | None) -> None:
        """The broker has these now; None = it is away."""
        async with self._moved:
            self._in_force = frozenset(view.run for view in views or ())
            self._moved.notify_all()

    async def secrets(self, run: str, spec: JobSpec) -> dict[str, bytes]:
        """For jobs/grants.py: what the run logs in with.

        It depends on nothing but its name, so that a sandbox made ahead and a run that is adopted have the same.
        """
        if any(view.run == run for view in self.now or ()):
            await self._wait(run)
        password = tenants.password(self._secret, spec.tenant, run)
        return {"mqtt_username": tenants.username(run).encode(), "mqtt_password": password.encode()}

    async def _wait(self, run: str) -> None:
        try:
            async with asyncio.timeout(_IN_FORCE_SECONDS), self._moved:
                await self._moved.wait_for(lambda: run in self._in_force)
        except TimeoutError:
            pass
