"""Who may do what at the broker: users of accounts, of runs, and the agent's own."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Credential, DeviceProtocol
from agent.mqtt import tenants
from agent.mqtt.access import policy
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.acl import Acl, AclKind
from agent.mqtt.access.policy import Access, User
from agent.mqtt.topics import matches
from agent.mqtt.users import AGENT, COMMANDS, CONTROL, RETAINED, STORE
from agent.spec import MqttGrant, MqttView

SECRET = b"s" * 32
SCALE = Account("scale", credential=Credential.PASSWORD, password_generation=3)
NODE = replace(SCALE, id="node", protocol=DeviceProtocol.SPARKPLUG, group="hall")
BRIDGE = replace(SCALE, id="bridge", protocol=DeviceProtocol.ZIGBEE2MQTT)
VIEW = MqttView("t.j.1", "t", "j", (MqttGrant(device="scale", channel="#"),))


def access(*accounts: Account, views: frozenset[MqttView] | None = frozenset()) -> Access:
    by_id = {account.id: account for account in accounts}
    jobs = (
        policy.user(
            tenants.username(view.run),
            tenants.password(SECRET, view.tenant, view.run),
            tenants.acls(view, by_id.values()),
        )
        for view in views or ()
    )
    return Access(SECRET, by_id, {job.name: job for job in jobs}, views)


def user(name: str, *accounts: Account) -> User:
    found = access(*accounts).user(name)
    assert found is not None
    return found


def may(user: User, kind: AclKind, topic: str) -> bool:
    """As the plugin decides for a topic without wildcards."""
    acls = [
        acl for role in sorted(user.roles, key=lambda role: -role.priority) for acl in role.acls if acl.kind is kind
    ]
    ordered = sorted(acls, key=lambda acl: -acl.priority)
    return next((acl.allow for acl in ordered if matches(tuple(acl.topic.split("/")), tuple(topic.split("/")))), False)


def test_there_are_the_agents_own_users_the_runs_and_the_devices_that_have_a_credential() -> None:
    none, revoked = Account("none"), replace(SCALE, id="revoked", credential=Credential.REVOKED)
    there = access(SCALE, none, revoked, views=frozenset({VIEW}))
    own = {AGENT, CONTROL, COMMANDS, RETAINED, STORE}
    assert set(there.names()) == set(there.sources()) == own | {"job:t.j.1", "scale"}
    assert there.user("none") is there.user("revoked") is there.user("nobody") is None


def test_no_two_users_have_the_same_password_and_a_certificate_has_none() -> None:
    there = access(SCALE, NODE, replace(SCALE, id="sealed", credential=Credential.CERTIFICATE), views=frozenset({VIEW}))
    passwords = {name: found.password for name in there.names() if (found := there.user(name)) is not None}
    assert passwords.pop("sealed") == ""
    assert len(set(passwords.values())) == len(passwords) == 8
    assert user("scale", replace(SCALE, password_generation=4)).password != passwords["scale"]


def test_a_mark_tells_passwords_apart_without_showing_them() -> None:
    one, other = user("scale", SCALE), user("scale", replace(SCALE, password_generation=4))
    assert one.mark != other.mark
    assert one.password not in one.mark and one.password not in repr(one)
    assert user("scale", replace(SCALE, credential=Credential.CERTIFICATE)).mark == "certificate"


@pytest.mark.parametrize(
    ("account", "says", "not_says", "hears", "not_hears"),
    [
        (
            SCALE,
            ["devices/scale/weight", "devices/scale/a/b", "devices/scale/cmd/tare/ack"],
            ["devices/scale/cmd/tare", "devices/scale/cmd", "devices/scale/cmd/a/b/ack", "devices/door/x", "x"],
            ["devices/scale/cmd/tare"],
            ["devices/scale/weight", "devices/scale/cmd/tare/ack", "devices/door/cmd/open"],
        ),
        (
            NODE,
            ["spBv1.0/hall/NBIRTH/node", "spBv1.0/hall/DDATA/node/lamp"],
            ["spBv1.0/hall/NCMD/node", "spBv1.0/hall/NDATA/other", "spBv1.0/yard/NDATA/node", "devices/node/a"],
            ["spBv1.0/hall/NCMD/node", "spBv1.0/hall/DCMD/node/lamp", "spBv1.0/STATE/host"],
            ["spBv1.0/hall/NDATA/node", "spBv1.0/hall/NCMD/other"],
        ),
        (
            BRIDGE,
            ["zigbee2mqtt/lamp", "zigbee2mqtt/bridge/state", "homeassistant/light/lamp/config"],
            ["zigbee2mqtt/lamp/set", "zigbee2mqtt/bridge/request/restart", "homeassistant/status", "devices/bridge/a"],
            ["zigbee2mqtt/lamp/set", "zigbee2mqtt/lamp/get", "zigbee2mqtt/bridge/request/restart"],
            ["zigbee2mqtt/lamp", "homeassistant/light/lamp/config"],
        ),
    ],
    ids=["native", "sparkplug", "zigbee2mqtt"],
)
def test_a_device_says_what_is_its_own_and_hears_what_is_said_to_it(
    account: Account, says: list[str], not_says: list[str], hears: list[str], not_hears: list[str]
) -> None:
    one = user(account.id, account)
    assert [topic for topic in [*says, *not_says] if may(one, AclKind.SEND, topic)] == says
    for kind in (AclKind.RECEIVE, AclKind.SUBSCRIBE):
        assert [topic for topic in [*hears, *not_hears] if may(one, kind, topic)] == hears


def test_the_session_in_bulk_says_nothing_and_that_of_commands_hears_only_answers_and_orders() -> None:
    agent, commands = user(AGENT), user(COMMANDS)
    assert not any(acl.kind is AclKind.SEND for role in agent.roles for acl in role.acls)
    assert may(agent, AclKind.RECEIVE, "devices/scale/weight") and not may(agent, AclKind.RECEIVE, "tenants/t/x")
    assert may(commands, AclKind.RECEIVE, "tenants/t/devices/scale/cmd/tare")
    assert not may(commands, AclKind.RECEIVE, "devices/scale/weight")
    assert may(commands, AclKind.SEND, "devices/scale/cmd/tare") and not may(commands, AclKind.SEND, "devices/scale/a")


def test_nothing_that_devices_and_jobs_may_say_reaches_the_administration() -> None:
    """Who floods it couldn't be thrown out."""
    control = user(CONTROL)
    assert may(control, AclKind.SEND, "$CONTROL/dynamic-security/v1")
    assert not may(user(COMMANDS), AclKind.SEND, "$CONTROL/dynamic-security/v1")
    heard = {acl.topic for role in control.roles for acl in role.acls if acl.kind is AclKind.RECEIVE}
    assert heard == {"$CONTROL/dynamic-security/v1/response", "$SYS/broker/#", "tenants/+/jobs/+/devices"}
    job = policy.user("job:x", "", tenants.acls(VIEW, []))
    assert may(job, AclKind.SEND, "tenants/t/jobs/j/x") and not may(job, AclKind.SEND, "tenants/t/jobs/j/devices")


def test_runs_are_left_alone_until_it_is_known_which_there_are() -> None:
    assert access(views=None).is_left_alone("job:t.j.1")
    assert not access(views=None).is_left_alone("scale")
    assert not access().is_left_alone("job:t.j.1")


@given(
    st.lists(st.builds(Acl, st.sampled_from(AclKind), st.text("abc", max_size=400), st.booleans(), st.integers(0, 9)))
)
def test_many_acls_are_in_several_roles_in_the_same_order(acls: list[Acl]) -> None:
    one = policy.user("job:x", "", acls * 20)
    found = [acl for role in sorted(one.roles, key=lambda role: -role.priority) for acl in role.acls]
    assert found == sorted(acls * 20, key=lambda acl: -acl.priority)
    assert one.roles[0].name == "job:x" and {policy.owner(role.name) for role in one.roles} == {"job:x"}
    assert len({role.name for role in one.roles}) == len(one.roles)
    for role in one.roles:
        assert len(role.acls) == 1 or sum(len(acl.topic) + 90 for acl in role.acls) <= 64 * 1024
