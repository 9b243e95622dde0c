"""What there is against what there is to be: commands make one of the other, and open no hole meanwhile."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Credential
from agent.mqtt.access import diff
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.acl import Acl, AclKind
from agent.mqtt.access.policy import Access, Role, User, user
from agent.mqtt.access.seed import DEFAULT_ACCESS
from tests.fakes.plugin import FakePlugin

SEND, HEAR = Acl(AclKind.SEND, "a"), Acl(AclKind.RECEIVE, "b", allow=False, priority=3)
ONE = User("one", "secret", (Role("one", (SEND, HEAR), 2), Role("one#2", (SEND,), 1)))


def bring(plugin: FakePlugin, wanted: User | None) -> list[dict[str, Any]]:
    commands = diff.mend(wanted, plugin.clients.get("one"), dict(plugin.roles))
    for command in commands:
        plugin.run(copy.deepcopy(command))
    return commands


acls = st.lists(
    st.builds(Acl, st.sampled_from(AclKind), st.sampled_from("abc"), st.booleans()), max_size=4, unique=True
)
users = st.none() | st.builds(
    lambda password, sets: User("one", password, tuple(Role(f"one#{n}", tuple(s), n) for n, s in enumerate(sets))),
    st.sampled_from(["", "a", "b"]),
    st.lists(acls, max_size=3),
)


@given(users, users)
def test_whatever_was_there_the_commands_make_of_it_what_is_wanted_and_then_there_is_nothing_to_do(
    before: User | None, after: User | None
) -> None:
    plugin = FakePlugin()
    bring(plugin, before)
    bring(plugin, after)
    assert bring(plugin, after) == []
    assert set(plugin.clients) == ({"one"} if after else set())
    assert set(plugin.roles) == ({role.name for role in after.roles} if after else set())


def test_a_user_is_thrown_out_before_its_roles_change_and_let_in_when_they_are_right() -> None:
    plugin = FakePlugin()
    bring(plugin, ONE)
    other = replace(ONE, password="other", roles=(Role("one", (SEND,), 1),))
    assert [command["command"] for command in bring(plugin, other)] == [
        "deleteClient", "modifyRole", "createClient", "deleteRole",
    ]  # fmt: skip


def test_a_role_that_changes_throws_nobody_out_by_our_command() -> None:
    plugin = FakePlugin()
    bring(plugin, ONE)
    other = replace(ONE, roles=(Role("one", (SEND,), 2), ONE.roles[1]))
    assert [command["command"] for command in bring(plugin, other)] == ["modifyRole"]


@pytest.mark.parametrize(
    "drift",
    [
        {"textdescription": "another password"}, {"roles": []}, {"groups": [{"groupname": "people"}]},
        {"disabled": True}, {"clientid": "chosen"},
    ],
)  # fmt: skip
def test_what_somebody_did_to_a_client_is_seen(drift: dict[str, Any]) -> None:
    plugin = FakePlugin()
    bring(plugin, ONE)
    assert diff.is_client(plugin.clients["one"], ONE)
    assert not diff.is_client({**plugin.clients["one"], **drift}, ONE)


def test_the_order_of_acls_is_no_difference_and_what_each_says_is() -> None:
    role = ONE.roles[0]
    listed = {"rolename": "one", "acls": [
        {"acltype": "publishClientReceive", "topic": "b", "priority": 3, "allow": False},
        {"acltype": "publishClientSend", "topic": "a", "priority": 0, "allow": True},
    ]}  # fmt: skip
    assert diff.is_role(listed, role)
    assert not diff.is_role(listed, replace(role, acls=(SEND, replace(HEAR, priority=2))))
    assert not diff.is_role(listed, replace(role, acls=(SEND,)))


def test_strangers_are_wrong_and_runs_are_left_alone_while_none_is_known() -> None:
    scale = Account("scale", credential=Credential.PASSWORD)
    known = Access(b"s" * 32, {"scale": scale}, {}, frozenset())
    unknown = replace(known, views=None)
    scales = known.user("scale")
    assert scales is not None
    plugin = FakePlugin()
    for command in diff.mend(scales, None, {}):
        plugin.run(command)
    clients = [plugin.clients["scale"], {"username": "stranger"}, {"username": "job:t.j.1"}]
    assert list(diff.wrong_clients(clients, known)) == ["stranger", "job:t.j.1"]
    assert list(diff.wrong_clients(clients, unknown)) == ["stranger"]
    roles = [plugin.roles["scale"], {"rolename": "scale#2", "acls": []}, {"rolename": "job:t.j.1#2", "acls": []}]
    assert list(diff.wrong_roles(roles, known)) == ["scale#2", "job:t.j.1#2"]
    assert list(diff.wrong_roles(roles, unknown)) == ["scale#2"]


def test_settings_that_are_right_need_nothing_and_wrong_ones_go_back() -> None:
    right = {"acls": [{"acltype": word, "allow": allow} for word, allow in DEFAULT_ACCESS.items()]}
    assert diff.settings(right, {}, {"groups": []}) == []
    wrong = {"acls": [{"acltype": "subscribe", "allow": True}, {"acltype": "unsubscribe", "allow": True}]}
    assert diff.settings(wrong, {"group": {"groupname": "all"}}, {"groups": ["people"]}) == [
        {"command": "setDefaultACLAccess", "acls": [{"acltype": "subscribe", "allow": False}]},
        {"command": "setAnonymousGroup", "groupname": ""},
        {"command": "deleteGroup", "groupname": "people"},
    ]


def test_a_user_without_a_password_is_made_without_one() -> None:
    made = diff.mend(user("sealed", "", (SEND,)), None, {})[-1]
    assert made["command"] == "createClient" and "password" not in made
