"""Who may do what at the broker. Pure: users and their ACLs, of accounts, of live runs and of the agent itself.

Whatever no ACL allows is denied, also receiving: a user gets only what both its subscription and a RECEIVE ACL cover.
For runs (agent.mqtt.tenants says what they may): a shared subscription is checked as it is written, `$share/<group>/…`,
against SUBSCRIBE alone; what then comes is checked against RECEIVE, without `$share/<group>/`. A pattern's `#` or `+`
never covers a topic that begins with `$`. Of ACLs that match, the one of the highest priority decides; two of the same
kind and topic can't both be.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.acl import Acl, AclKind
from agent.mqtt.access.secret import password as derived
from agent.mqtt.topics import DISCOVERY_ROOT, ROOT, ROOTS, SPARKPLUG_ROOT, ZIGBEE_ROOT
from agent.mqtt.users import AGENT, COMMANDS, CONTROL, JOB_PREFIX, RETAINED, STORE
from agent.spec import MqttView

# One command to the broker must stay below its max_packet_size: a bigger role is several.
_ROLE_BYTES = 64 * 1024
_ACL_BYTES = 90  # of an ACL's JSON, besides its topic

_ADMINISTRATION = "$CONTROL/dynamic-security/v1"


@dataclass(frozen=True, slots=True)
class Role:
    """`priority` decides between roles of one user, the highest first."""

    name: str
    acls: tuple[Acl, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class User:
    """Name, client id and first role have the same name. Without a `password` only a certificate lets it in."""

    name: str
    password: str = field(repr=False)
    roles: tuple[Role, ...]

    @property
    def mark(self) -> str:
        """Tells passwords apart, and nothing of them: what the broker can be asked for in place of the password."""
        return f"password {hashlib.sha256(self.password.encode()).hexdigest()[:16]}" if self.password else "certificate"


@dataclass(frozen=True, slots=True)
class Access:
    """All users that there are to be. A user is made when it is asked for: there may be tens of thousands.

    `jobs` are the users of runs, by name, and `views` what they were granted; None: runs are not known yet, and
    `is_left_alone` is true of their users.
    """

    secret: bytes = field(repr=False)
    accounts: Mapping[str, Account]
    jobs: Mapping[str, User]
    views: frozenset[MqttView] | None

    def names(self) -> Iterator[str]:
        yield from _OWN
        yield from self.jobs
        yield from (account.id for account in self.accounts.values() if _has_one(account))

    def sources(self) -> dict[str, object]:
        """By user: as long as it is equal, the user is."""
        found: dict[str, object] = {name: None for name in _OWN}  # noqa: C420  fromkeys has no such type
        found.update(self.jobs)
        found.update((account.id, account) for account in self.accounts.values() if _has_one(account))
        return found

    def user(self, name: str) -> User | None:
        """None when there is to be none of this name."""
        if name in _OWN:
            return user(name, derived(self.secret, "store" if name == STORE else "agent", name, 0), _OWN[name])
        if name.startswith(JOB_PREFIX):
            return self.jobs.get(name)
        account = self.accounts.get(name)
        return (
            None if account is None or not _has_one(account) else user(name, self._password(account), device(account))
        )

    def is_left_alone(self, name: str) -> bool:
        return self.views is None and name.startswith(JOB_PREFIX)

    def _password(self, account: Account) -> str:
        if account.credential is not Credential.PASSWORD:
            return ""
        return derived(self.secret, "device", account.id, account.password_generation)


def device(account: Account) -> tuple[Acl, ...]:
    """A device says what is its own, and hears what is said to it."""
    match account.protocol:
        case DeviceProtocol.NATIVE:
            own = f"{ROOT}/{account.id}"
            return (
                # Its answers, but no commands: else it could command itself in the agent's name.
                Acl(AclKind.SEND, f"{own}/cmd/+/ack", priority=20),
                Acl(AclKind.SEND, f"{own}/cmd/#", allow=False, priority=10),
                Acl(AclKind.SEND, f"{own}/#"),
                *_hears(f"{own}/cmd/+"),
            )
        case DeviceProtocol.SPARKPLUG:
            group, node = f"{SPARKPLUG_ROOT}/{account.group}", account.id
            return (
                *(Acl(AclKind.SEND, f"{group}/{kind}/{node}") for kind in ("NBIRTH", "NDATA", "NDEATH")),
                *(Acl(AclKind.SEND, f"{group}/{kind}/{node}/+") for kind in ("DBIRTH", "DDATA", "DDEATH")),
                *_hears(f"{group}/NCMD/{node}/#", f"{group}/DCMD/{node}/#", f"{SPARKPLUG_ROOT}/STATE/+"),
            )
        case DeviceProtocol.ZIGBEE2MQTT:
            orders = (f"{ZIGBEE_ROOT}/+/set", f"{ZIGBEE_ROOT}/+/get", f"{ZIGBEE_ROOT}/bridge/request/#")
            return (
                *(Acl(AclKind.SEND, topic, allow=False, priority=10) for topic in orders),
                Acl(AclKind.SEND, f"{ZIGBEE_ROOT}/#"),
                Acl(AclKind.SEND, f"{DISCOVERY_ROOT}/status", allow=False, priority=10),
                Acl(AclKind.SEND, f"{DISCOVERY_ROOT}/#"),
                *_hears(*orders, f"{ZIGBEE_ROOT}/+/+/set", f"{ZIGBEE_ROOT}/+/set/+", f"{DISCOVERY_ROOT}/status"),
            )


def _hears(*topics: str) -> tuple[Acl, ...]:
    return tuple(Acl(kind, topic) for topic in topics for kind in (AclKind.RECEIVE, AclKind.SUBSCRIBE))


def _says(*topics: str) -> tuple[Acl, ...]:
    return tuple(Acl(AclKind.SEND, topic) for topic in topics)


_OWN: Mapping[str, tuple[Acl, ...]] = {
    AGENT: _hears(*(f"{root}/#" for root in ROOTS)),
    # Nothing that devices or jobs say comes here: who floods the agent couldn't be thrown out else.
    CONTROL: (
        *_says("tenants/+/jobs/+/devices", _ADMINISTRATION),
        *_hears("tenants/+/jobs/+/devices", f"{_ADMINISTRATION}/response", "$SYS/broker/#"),
    ),
    COMMANDS: (
        *_says(
            f"{ROOT}/+/cmd/+",
            f"{SPARKPLUG_ROOT}/+/NCMD/+",
            f"{SPARKPLUG_ROOT}/+/DCMD/+/+",
            f"{ZIGBEE_ROOT}/+/set",
            f"{ZIGBEE_ROOT}/+/get",
            "tenants/#",
        ),
        *_hears(
            f"{ROOT}/+/cmd/+/ack",
            f"{ROOT}/+/csr",
            f"tenants/+/{ROOT}/+/cmd/+",
        ),
    ),
    RETAINED: (
        *_says(*(f"{root}/#" for root in (*ROOTS, "tenants")), "edge-agent/retained"),
        *_hears(*(f"{root}/#" for root in (*ROOTS, "tenants"))),
    ),
    STORE: _hears(*(f"{root}/#" for root in ROOTS)),
}


def _has_one(account: Account) -> bool:
    return account.credential in (Credential.CERTIFICATE, Credential.PASSWORD)


def user(name: str, password: str, acls: Collection[Acl]) -> User:
    """ACLs that are too many for one role are in several, the most important first."""
    parts: list[list[Acl]] = [[]]
    room = _ROLE_BYTES
    for acl in sorted(acls, key=lambda acl: -acl.priority):
        size = len(acl.topic.encode()) + _ACL_BYTES
        if size > room and parts[-1]:
            parts.append([])
            room = _ROLE_BYTES
        parts[-1].append(acl)
        room -= size
    roles = (Role(_part(name, at), tuple(part), len(parts) - at) for at, part in enumerate(parts))
    return User(name, password, tuple(roles))


def _part(name: str, at: int) -> str:
    return name if at == 0 else f"{name}#{at + 1}"


def owner(role: str) -> str:
    """Whose role it is."""
    return role.partition("#")[0]
