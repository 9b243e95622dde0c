"""What this box has for jobs at a moment: the launcher's facts, less what the store keeps for itself. Pure."""

from agent.config.schema import JobsConfig
from agent.errors import RefusedError
from agent.jobs import budget, trading
from agent.jobs.room import Capacity
from agent.sandbox import HostFacts
from agent.spec import Reserve, StorePolicy

_NANO = 1_000_000_000


def policy_of(config: JobsConfig) -> StorePolicy:
    """What counts while central says nothing of the store."""
    reserve = Reserve(config.reserve_cpu_milli, config.reserve_memory_bytes, config.reserve_disk_bytes)
    return StorePolicy(reserve=reserve)


def usable(policy: StorePolicy) -> StorePolicy:
    """The policy itself; on a box that doesn't know its time zone, its largest reserve at all times."""
    try:
        trading.check(policy)
    except RefusedError:
        return StorePolicy(reserve=trading.largest(policy))
    return policy


def capacity(
    host: HostFacts, policy: StorePolicy, wall_nano: int, *, spool_takes: bool, broker: bool = False, heat: str = ""
) -> Capacity:
    """Changes with `wall_nano` only from one minute to another; `policy` is a usable one.

    `broker`: the agent has to do with one. `heat`: see Capacity.
    """
    now = wall_nano / _NANO
    return Capacity(
        cpu_milli=host.cpus * 1000,
        memory_bytes=host.memory_bytes,
        memory_controller=host.memory_controller,
        disk_bytes=host.disk_bytes,
        runs=host.max_runs,
        network=host.network,
        mqtt=host.mqtt and broker,
        reserve=trading.reserve_at(policy, now),
        largest=trading.largest(policy),
        hours=trading.describe(policy, now),
        month=budget.month_of(now),
        spool_takes=spool_takes,
        heat=heat,
    )
