"""The link: keeps one session with central open, on both lanes, for as long as the agent runs."""

import asyncio
import logging
import math
from collections.abc import Callable
from pathlib import Path

import grpc.aio

from agent.backoff import full_jitter
from agent.clock import Clock
from agent.config.schema import LinkConfig
from agent.errors import AwayError, EdgeError, RefusedError, StorageError
from agent.identity import renew, tls
from agent.identity import store as identity_store
from agent.identity.store import Identity
from agent.link import codec
from agent.link.downlink import Downlink
from agent.link.session import Lane, open_lane
from agent.link.tunnel import Answer
from agent.link.uplink import Uplink
from agent.link.wanted import Wanted
from agent.model import AuditEntry, Sink
from agent.runtime.service import pause
from agent.spool.spool import Spool
from storeedge.v1 import control_pb2, control_pb2_grpc, types_pb2

log = logging.getLogger(__name__)

# How often the waits below say that they are alive; a third of what the watchdog grants.
_PULSE_SECONDS = 3.0
# A certificate is looked at this often; its life is counted in days.
_RENEWAL_CHECK_SECONDS = 600.0
# A session that ends sooner counts as a failed attempt: a central that welcomes a node only to refuse what it sends
# would otherwise be dialled, and its audit trail filled, without any pause.
_SETTLED_SECONDS = 10.0


class _RenewedError(EdgeError):
    """There is a new certificate: the session must be opened anew with it."""


class LinkService:
    """`run` per agent.runtime.service. Faults of the network and of central are its own to retry."""

    name = "link"

    def __init__(
        self,
        config: LinkConfig,
        *,
        state_dir: Path,
        identity: Identity,
        version: str,
        spool: Spool,
        wanted: Wanted,
        answer: Answer,
        record: Sink,
        clock: Clock,
        draw: Callable[[], float],
        sealing_key_der: bytes,
    ) -> None:
        """`sealing_key_der` is what sealing.ensure answers; without it central can't pass on secrets to this node."""
        self._config, self._state_dir, self._identity, self._version = config, state_dir, identity, version
        self._spool, self._wanted, self._answer, self._record = spool, wanted, answer, record
        self._clock, self._draw, self._sealing_key_der = clock, draw, sealing_key_der
        self._connected = False
        self._last_refusal = ""

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def identity(self) -> Identity:
        """The one in force; it changes at renewal."""
        return self._identity

    def configure(self, config: LinkConfig) -> None:
        """From the next session on, and the pause before it."""
        self._config = config

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        attempt = 0
        while not stop.is_set():
            settled = await self._connection(stop, beat)
            attempt = 0 if settled else attempt + 1
            seconds = full_jitter(
                attempt,
                base_seconds=self._config.backoff_base_seconds,
                cap_seconds=self._config.backoff_max_seconds,
                draw=self._draw(),
            )
            await self._pause(seconds, stop, beat)

    async def _connection(self, stop: asyncio.Event, beat: Callable[[], None]) -> bool:
        """One session from dialling to its end. True if it had lasted a while."""
        welcomed_at = math.inf
        cause: BaseException | None = None

        def on_welcome() -> None:
            nonlocal welcomed_at
            welcomed_at, self._connected = self._clock.seconds(), True

        try:
            async with asyncio.TaskGroup() as group:
                session = group.create_task(self._session(on_welcome), name="session")
                while not stop.is_set():  # the group cancels this loop when the session fails
                    await self._pause(_PULSE_SECONDS, stop, beat)
                session.cancel()
        except* EdgeError as faults:
            cause = _cause(faults)
        finally:
            self._connected = False
        await self._explain(cause)
        return self._clock.seconds() - welcomed_at >= _SETTLED_SECONDS

    async def _explain(self, cause: BaseException | None) -> None:
        """Say why the session ended; a refusal goes to the audit trail, once for each new reason."""
        if isinstance(cause, _RenewedError):
            log.info("certificate renewed, opening a new session")
        elif cause is not None:
            log.warning("not connected", extra={"reason": cause})
        if isinstance(cause, RefusedError):
            await self._on_refusal(cause)

    async def _on_refusal(self, cause: RefusedError) -> None:
        if str(cause) != self._last_refusal:
            self._last_refusal = str(cause)
            entry = AuditEntry("agent", "session.open", self._identity.control_address, cause.reason, str(cause))
            try:
                await self._record([entry])
            except StorageError as error:
                log.warning("refusal not audited", extra={"reason": error})
        # A certificate that never completed a session may be the fault: the one before it is still there.
        try:
            previous = await asyncio.to_thread(identity_store.revert, self._state_dir, self._identity.secret)
        except EdgeError as error:
            log.warning("can't go back to the certificate before", extra={"reason": error})
            return
        if previous is not None:
            log.warning("central refuses the new certificate, going back to the one before")
            self._identity = previous

    async def _session(self, on_welcome: Callable[[], None]) -> None:
        identity, config = self._identity, self._config
        await tls.probe(identity, identity.control_address, config.connect_timeout_seconds)
        channel = tls.channel(identity)
        lanes: list[Lane] = []
        try:
            for kind in (types_pb2.LANE_CONTROL, types_pb2.LANE_BULK):
                hello = self._hello(kind)
                lanes.append(await open_lane(channel, hello, timeout_seconds=config.connect_timeout_seconds))
            on_welcome()
            log.info("connected", extra={"central": identity.control_address, "session": lanes[0].welcome.session})
            identity_store.forget_previous(self._state_dir)
            await self._both_lanes(channel, *lanes)
        finally:
            for lane in lanes:
                lane.close()
            await channel.close()

    async def _both_lanes(self, channel: grpc.aio.Channel, control: Lane, bulk: Lane) -> None:
        down = Downlink(
            control,
            answer=self._answer,
            accept=self._wanted.accept,
            applied=self._wanted.revision,
            spool=self._spool,
            clock=self._clock,
        )
        up = Uplink(bulk, self._spool, self._config, self._clock)
        async with asyncio.TaskGroup() as group:
            for lane in (control, bulk):
                group.create_task(lane.write(), name="lane.write")
            group.create_task(down.run(), name="downlink")
            group.create_task(up.run(), name="uplink")
            group.create_task(self._renewal(channel, control.welcome), name="renewal")

    async def _renewal(self, channel: grpc.aio.Channel, welcome: control_pb2.Welcome) -> None:
        # Central's time, not this box's: central judges the certificate. By a clock that is weeks ahead each new one
        # would be due at once, by one that stands still none ever.
        ahead_nano = (welcome.server_time_unix_nano or self._clock.wall_nano()) - self._clock.boottime_nano()

        async def call(csr_der: bytes) -> tuple[list[bytes], list[bytes]]:
            stub = control_pb2_grpc.ControlStub(channel)
            try:
                response = await stub.Renew(
                    control_pb2.RenewRequest(csr_der=csr_der), timeout=self._config.connect_timeout_seconds
                )
            except grpc.aio.AioRpcError as error:
                raise AwayError(f"renewal: {error.details()}") from error
            return list(response.chain_der), list(response.bundle_der)

        draw = self._draw()
        while True:
            life = (self._identity.not_before_unix_nano, self._identity.not_after_unix_nano)
            if renew.due(*life, ahead_nano + self._clock.boottime_nano(), draw):
                try:
                    self._identity = await renew.renew(self._state_dir, self._identity, call)
                except EdgeError as error:
                    log.warning("certificate not renewed, trying again", extra={"reason": error})
                else:
                    raise _RenewedError("certificate renewed")
            await asyncio.sleep(_RENEWAL_CHECK_SECONDS)

    def _hello(self, lane: types_pb2.Lane) -> control_pb2.Hello:
        spool = self._spool.view()
        acked = [
            types_pb2.Position(record_class=codec.wire_class(c.record_class), seq=c.acked_seq) for c in spool.classes
        ]
        return control_pb2.Hello(
            lane=lane,
            boot_id=self._clock.boot_id,
            agent_version=self._version,
            spool_epoch=spool.epoch,
            desired_revision=self._wanted.revision(),
            acked=acked,
            time_unix_nano=self._clock.wall_nano(),
            sealing_key_der=self._sealing_key_der,
        )

    async def _pause(self, seconds: float, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        until = self._clock.seconds() + seconds
        while not stop.is_set() and (left := until - self._clock.seconds()) > 0:
            beat()
            await pause(stop, min(left, _PULSE_SECONDS))


def _cause(faults: BaseExceptionGroup[EdgeError]) -> BaseException:
    """Of the two lanes' faults the first: the other only followed."""
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
