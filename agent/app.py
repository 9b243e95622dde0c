"""The one place where concrete things meet: builds the services of a configuration and runs them."""

import asyncio
import logging
import os
import random
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from agent import __version__
from agent.api.doors import ApiService
from agent.api.methods import NodeFacts, Sources
from agent.api.service import AgentApi
from agent.clock import Clock, system_clock
from agent.config.change import change
from agent.config.load import load
from agent.config.schema import Config
from agent.errors import AwayError, ConfigError, StorageError
from agent.identity import lock, sealing, signing, tls
from agent.identity import store as identity_store
from agent.identity.refusals import forget_refusals, take_refusals
from agent.jobs import trading
from agent.jobs.artifact import Artifacts
from agent.jobs.grants import Broker
from agent.jobs.runner import JobsService
from agent.link import codec
from agent.link.service import LinkService
from agent.link.wanted import Wanted
from agent.model import Body, Event, Sink
from agent.mqtt.rules.compile import compile_rules
from agent.mqtt.service import MqttService
from agent.runtime import reset
from agent.runtime.notify import KeptSockets, Notifier
from agent.runtime.serve import serve
from agent.runtime.service import Service
from agent.sandbox import Sandbox
from agent.spec import Desired
from agent.spool.spool import Spool, open_spool
from agent.telemetry.sampler import TelemetryService

log = logging.getLogger(__name__)

# Well below systemd's start timeout: a launcher that is away must not keep the agent from starting.
_LAUNCHER_SECONDS = 20.0


def _recorder(spool: Spool, clock: Clock) -> Sink:
    async def record(bodies: Sequence[Body]) -> None:
        await spool.append(codec.drafts(clock.stamp(), bodies))

    return record


class App:
    """The agent, assembled. `run` ends when it was told to stop."""

    def __init__(
        self, config: Config, clock: Clock, sealing_key_der: bytes, kept: KeptSockets, config_file: Path
    ) -> None:
        """`sealing_key_der` is what sealing.ensure answers; empty while there is none: then no secrets come here.

        `config_file` is read again at SIGHUP.
        """
        self._config, self._config_file = config, config_file
        state_dir = config.node.state_dir
        _make_directory(state_dir)
        _make_directory(config.node.run_dir)
        self._clock = clock
        self._identity = identity_store.load(state_dir, lock.given(os.environ))
        self._spool, self._aside = open_spool(
            state_dir / "spool.db",
            limit_bytes=config.spool.limit_bytes,
            epoch=os.urandom(16).hex(),
            set_aside=f".corrupt-{clock.wall_nano() // 10**9}",
            clock=clock,
        )
        self._record = _recorder(self._spool, clock)
        self._state_dir = state_dir
        self._runs_jobs = config.jobs.enabled
        sandbox = Sandbox(config.jobs.launcher_socket)
        self._images = Artifacts(
            config.images,
            state_dir,
            clock,
            installed=sandbox.images,
            remove=sandbox.remove_image,
            wanted=self._wanted_images,
        )
        self._mqtt = MqttService(config.mqtt, state_dir, self._record, clock, random.random, kept)
        self._jobs = JobsService(
            config.jobs,
            state_dir,
            sandbox,
            self._record,
            clock,
            images=self._images,
            unseal=partial(sealing.unseal, _sealing_key(config)),
            sign=lambda text: signing.sign(self._link.identity.directory, text, self._link.identity.secret),
            node_name=self._identity.node,
            broker=Broker(self._mqtt.views.tell, self._mqtt.views.secrets) if config.mqtt.enabled else None,
        )
        self._telemetry = TelemetryService(
            config.telemetry, self._record, clock, self._spool.view, heat=config.heat, feel=self._jobs.feel
        )
        self._wanted = Wanted(state_dir / "desired.pb", check=_check, apply=self._apply, record=self._record)
        api = AgentApi(self._sources(), trust_domain=self._identity.trust_domain, record=self._record)
        self._link = LinkService(
            config.link,
            state_dir=state_dir,
            identity=self._identity,
            version=__version__,
            spool=self._spool,
            wanted=self._wanted,
            answer=api.relay,
            record=self._record,
            clock=clock,
            draw=random.random,
            sealing_key_der=sealing_key_der,
        )
        self._api = ApiService(
            api,
            codec.status,
            socket=config.api.socket,
            listen=config.api.listen,
            credentials=tls.server_credentials(self._identity) if config.api.listen else None,
        )

    async def run(self) -> None:
        # Before any service runs: a rule that keeps data in the store must stand before the first message comes.
        await self._wanted.restore()
        await self._mqtt.read_rules()
        try:
            jobs: list[Service] = [self._jobs, self._images] if self._runs_jobs else []
            others: list[Service] = [self._mqtt, self._telemetry, self._link, self._api]
            await serve([*jobs, *others], clock=self._clock, ready=self._ready, reload=self._reload)
        finally:
            await self._spool.close()

    async def _ready(self) -> None:
        """READY means: desired state is in force and every job is re-adopted, or the launcher is away.

        Without the launcher there are no jobs, but devices, telemetry and central go on; it is tried for ever.
        """
        if self._runs_jobs:
            await self._recover()
        attributes = {"version": __version__, "pid": str(os.getpid())}
        if resets := reset.causes():
            attributes["reset"] = ", ".join(resets)
        if self._aside is not None:
            attributes["spool_set_aside"] = str(self._aside)
        try:
            await self._record([Event("node.started", attributes=attributes), *take_refusals(self._state_dir)])
        except StorageError as error:  # a full disk must not keep the agent from starting
            log.warning("start not recorded", extra={"reason": error})
        else:
            forget_refusals(self._state_dir)

    async def _reload(self) -> None:
        try:
            new = await asyncio.to_thread(load, self._config_file)
        except ConfigError as error:
            log.error("configuration is wrong, the old one stays whole: %s", error)  # noqa: TRY400
        else:
            self._configure(new)
        try:
            await self._mqtt.read_rules()
        except ConfigError as error:
            log.error("rules file is wrong, no rules of the operator's hold", extra={"reason": error})  # noqa: TRY400

    def _configure(self, new: Config) -> None:
        found = change(self._config, new)
        config = self._config = found.config
        logging.getLogger().setLevel(config.log.level)
        self._link.configure(config.link)
        self._telemetry.configure(config.telemetry, config.heat)
        self._jobs.configure(config.jobs)
        self._images.configure(config.images)
        if found.now:
            log.info("configuration changed: %s", ", ".join(found.now))
        if found.later:
            log.warning("restart needed (systemctl restart edge-agent): %s", ", ".join(found.later))

    async def _recover(self) -> None:
        try:
            async with asyncio.timeout(_LAUNCHER_SECONDS):
                await self._jobs.recovered.wait()
        except TimeoutError:
            log.warning("ready without the launcher: no job can be started or found again until it answers")

    async def _apply(self, desired: Desired) -> None:
        self._mqtt.apply_rules(desired.rules)
        if self._runs_jobs:
            await self._jobs.apply(desired)

    def _wanted_images(self) -> frozenset[str]:
        return self._jobs.images()  # made after the images service, whose images it asks for

    def _sources(self) -> Sources:
        return Sources(
            clock=self._clock,
            node=self._facts,
            jobs=self._jobs.jobs,
            stop_job=self._jobs.stop_job,
            logs=self._jobs.logs,
            devices=self._mqtt.devices,
            send_command=self._mqtt.send_command,
            commands=self._mqtt.commands,
            cancel_command=self._mqtt.cancel_command,
            put_devices=self._mqtt.put_devices,
            revoke_device=self._mqtt.revoke_device,
            spool=self._spool.view,
            images=self._images.views,
            put_image=self._images.put,
        )

    def _facts(self) -> NodeFacts:
        return NodeFacts(
            spiffe_id=self._link.identity.spiffe_id,
            agent_version=__version__,
            agent_pid=os.getpid(),
            uptime_seconds=int(self._clock.seconds()),
            desired_revision=self._wanted.revision(),
            connected=self._link.connected,
            certificate_not_after_unix_nano=self._link.identity.not_after_unix_nano,
            launcher=self._launcher_facts(),
            conditions=tuple(filter(None, (self._telemetry.heat, self._open_key()))),
        )

    def _open_key(self) -> str:
        """Empty where the node's key is locked, or could not be."""
        identity = self._link.identity
        if identity.secret or not lock.TPM.exists():
            return ""
        return "the node's key is a plain file, though this machine has a TPM: see edge-agent doctor"

    def _launcher_facts(self) -> dict[str, str]:
        if not self._runs_jobs:
            return {}
        facts = self._jobs.launcher()
        return {"away": facts} if isinstance(facts, str) else {k: str(v) for k, v in asdict(facts).items()}


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror}; systemd makes it for the unit, or create it for this user"
        ) from error


def _check(desired: Desired) -> None:
    """Raises RefusedError for rules the bridge could not compile, and for a time zone that this box doesn't know.

    Then nothing of the desired state is stored.
    """
    compile_rules(desired.rules)
    if desired.store is not None:
        trading.check(desired.store)


def _sealing_key(config: Config) -> Path:
    return config.node.state_dir / "sealing.key"


async def run(config: Config, config_file: Path) -> None:
    """Run the agent of `config`, which is what `config_file` says.

    Raises ConfigError when it isn't enrolled, StorageError when its disk refuses.
    """
    # First of all: what is opened from here on must not take the place of what systemd hands over.
    kept = KeptSockets.from_environ(Notifier.from_environ(os.environ), os.environ, os.getpid())
    try:
        sealing_key_der = await sealing.ensure(_sealing_key(config))
    except (AwayError, StorageError) as error:  # secrets wait for the next start; all else goes on
        log.warning("no sealing key", extra={"error": str(error)})
        sealing_key_der = b""
    await App(config, system_clock(), sealing_key_der, kept, config_file).run()
