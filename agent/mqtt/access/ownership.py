"""Whose a retained message is, and how much one may have the broker keep. Pure.

The broker knows neither: what is retained has no owner there, survives who said it, and has no bound.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account
from agent.mqtt.topics import DISCOVERY_ROOT, ROOT, SPARKPLUG_ROOT, ZIGBEE_ROOT

TENANTS = "tenants"
# Of one device or tenant. A bridge speaks for hundreds of devices, and announces what each of them has.
_MESSAGES, _BYTES = 1_000, 4 << 20
_BRIDGE_MESSAGES, _BRIDGE_BYTES = 10_000, 32 << 20


@dataclass(frozen=True, slots=True)
class Owner:
    """A device, or a tenant. `device` is empty where several bridges could have said it."""

    device: str = ""
    tenant: str = ""
    bridge: bool = False


NOBODY = Owner()


class Owners:
    """`tenants` are those that have runs, or had some lately; None while that isn't known."""

    def __init__(self, accounts: Mapping[str, Account], tenants: Collection[str] | None) -> None:
        self._accounts, self._tenants = accounts, tenants
        bridges = [each.id for each in accounts.values() if _lives(each) and _is_bridge(each)]
        self._bridge = Owner(bridges[0] if len(bridges) == 1 else "", bridge=True) if bridges else NOBODY

    def of(self, topic: str) -> Owner | None:
        """Who could publish there now; NOBODY when nobody can any more; None when it isn't ours to say."""
        match topic.split("/"):
            case [root, device, *_] if root == ROOT:
                return Owner(device) if _lives(self._accounts.get(device)) else NOBODY
            case [root, group, _, node, *_] if root == SPARKPLUG_ROOT and group != "STATE":
                account = self._accounts.get(node)
                return Owner(node) if _lives(account) and account is not None and account.group == group else NOBODY
            case [root, *_] if root in (DISCOVERY_ROOT, ZIGBEE_ROOT):
                return self._bridge
            case [root, _, "jobs", _, "devices"] if root == TENANTS:
                return None  # the agent's own lists
            case [root, tenant, *_] if root == TENANTS:
                return Owner(tenant=tenant) if self._tenants is None or tenant in self._tenants else NOBODY
            case _:
                return None


def living(accounts: Mapping[str, Account]) -> frozenset[tuple[str, str, str]]:
    """What decides about owners: as long as none of these goes, no owner does."""
    return frozenset((each.id, each.protocol.value, each.group) for each in accounts.values() if _lives(each))


@dataclass(slots=True)
class Tally:
    """What was found of each owner; `over` are those with more than they may have."""

    over: set[Owner] = field(default_factory=set[Owner])
    found: dict[Owner, tuple[int, int]] = field(default_factory=dict[Owner, tuple[int, int]])

    def add(self, whose: Owner, size: int) -> bool:
        """Whether `whose` passed the bound with this one."""
        messages, size_all = self.found.get(whose, (0, 0))
        self.found[whose] = messages, size_all = messages + 1, size_all + size
        most, most_bytes = (_BRIDGE_MESSAGES, _BRIDGE_BYTES) if whose.bridge else (_MESSAGES, _BYTES)
        if whose in self.over or (messages <= most and size_all <= most_bytes):
            return False
        self.over.add(whose)
        return True


def _lives(account: Account | None) -> bool:
    return account is not None and account.credential in (Credential.CERTIFICATE, Credential.PASSWORD)


def _is_bridge(account: Account) -> bool:
    return account.protocol is DeviceProtocol.ZIGBEE2MQTT
