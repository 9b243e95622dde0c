"""What a run may do at the broker follows from its grants, by the words of MQTT alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.access.accounts import Account
from agent.mqtt.tenants import Acl, AclKind, Command, acls, command, documents, may_answer, may_command, to_publish
from agent.mqtt.topics import matches
from agent.spec import MqttGrant, MqttView

SHELF = (
    Account("cam-1", zone="shelf", device_class="camera"),
    Account("temp-1", zone="shelf", device_class="thermometer"),
    Account("temp-2", zone="roof", device_class="thermometer"),
    Account("lamp-1"),
)


def view(*grants: MqttGrant, tenant: str = "acme", job: str = "j", store: bool = False) -> MqttView:
    return MqttView(f"{job}.1.1", tenant, job, grants, store)


def allowed(found: tuple[Acl, ...], kind: AclKind, topic: str) -> bool:
    """As the broker judges a message: the first that matches, by priority; none = no."""
    levels = tuple(topic.split("/"))
    fitting = [acl for acl in found if acl.kind is kind and matches(tuple(acl.topic.split("/")), levels)]
    return max(fitting, key=lambda acl: acl.priority).allow if fitting else False


def reads(found: tuple[Acl, ...], topic: str) -> bool:
    return allowed(found, AclKind.RECEIVE, topic)


def sends(found: tuple[Acl, ...], topic: str) -> bool:
    return allowed(found, AclKind.SEND, topic)


@pytest.mark.parametrize(
    ("grant", "seen"),
    [
        (MqttGrant(device="cam-1", channel="t"), {"cam-1"}),
        (MqttGrant(device="to-come", channel="t"), {"to-come"}),
        (MqttGrant(zone="shelf", channel="t"), {"cam-1", "temp-1"}),
        (MqttGrant(device_class="thermometer", channel="t"), {"temp-1", "temp-2"}),
        (MqttGrant(zone="shelf", device_class="thermometer", channel="t"), {"temp-1"}),
        (MqttGrant(zone="cellar", channel="t"), set()),
        (MqttGrant(device="cam-1", commands=("*",)), set()),
        (MqttGrant(channel="t"), set()),
    ],
)
def test_a_grant_is_of_the_devices_it_names_and_of_no_other(grant: MqttGrant, seen: set[str]) -> None:
    found = acls(view(grant), SHELF)
    everyone = [account.id for account in SHELF] + ["to-come", "+"]
    assert {device for device in everyone if reads(found, f"devices/{device}/t")} == seen


def test_who_comes_into_a_zone_is_seen_and_who_leaves_is_not() -> None:
    granted = view(MqttGrant(zone="shelf", channel="#"))
    assert reads(acls(granted, (*SHELF, Account("new", zone="shelf"))), "devices/new/t")
    assert not reads(acls(granted, SHELF[1:]), "devices/cam-1/t")


@pytest.mark.parametrize("channel", ["#", "+", "+/+", "+/+/+", "+/#"])
def test_no_channel_shows_a_command_or_an_answer(channel: str) -> None:
    found = acls(view(MqttGrant(zone="shelf", channel=channel)), SHELF)
    for topic in ("devices/cam-1/cmd/open", "devices/cam-1/cmd/open/ack", "devices/cam-1/cmd"):
        assert not reads(found, topic)
        assert not sends(found, topic)


def test_shared_subscriptions_are_of_the_tenants_own_name() -> None:
    found = acls(view(MqttGrant(device="cam-1", channel="t")), SHELF)
    shared = {
        acl.topic for acl in found if acl.kind is AclKind.SUBSCRIBE and acl.topic.startswith("$share") and acl.allow
    }
    assert shared == {"$share/acme/devices/cam-1/t", "$share/acme/tenants/acme/#"}


def test_a_tenant_writes_below_its_own_name_and_nowhere_else() -> None:
    found = acls(view(MqttGrant(device="cam-1", channel="#")), SHELF)
    assert sends(found, "tenants/acme/anything/at/all") and reads(found, "tenants/acme/x")
    for topic in (
        "tenants/bolt/x",
        "tenants/acme2/x",
        "devices/cam-1/t",
        "$SYS/x",
        "$CONTROL/dynamic-security/v1",
        "x",
    ):
        assert not sends(found, topic), topic


def test_what_the_agent_says_below_a_tenants_name_is_said_by_no_job() -> None:
    found = acls(view(), SHELF)
    assert not sends(found, "tenants/acme/jobs/j/devices")
    assert reads(found, "tenants/acme/jobs/j/devices")


def test_commands_are_left_only_for_what_was_granted() -> None:
    found = acls(view(MqttGrant(device="cam-1", commands=("pan",)), MqttGrant(zone="roof", commands=("*",))), SHELF)
    tried = [f"tenants/acme/devices/{one}/cmd/{name}" for one in ("cam-1", "temp-2", "lamp-1") for name in ("pan", "x")]
    assert [sends(found, topic) for topic in tried] == [True, False, True, True, False, False]
    assert not sends(found, "tenants/acme/devices/temp-2/cmd/x/ack")
    assert not sends(found, "tenants/bolt/devices/temp-2/cmd/x")


# --- what the agent asks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("tenants/acme/devices/cam-1/cmd/pan", Command("acme", "cam-1", "pan")),
        ("tenants/acme/devices/cam-1/cmd/pan/ack", None),
        ("tenants/acme/devices/cam-1/cmd/p n", None),
        ("tenants/acme/x/cam-1/cmd/pan", None),
        ("devices/cam-1/cmd/pan", None),
    ],
)
def test_a_command_is_known_by_its_topic(topic: str, found: Command | None) -> None:
    assert command(topic) == found


def test_a_command_needs_a_run_of_the_tenant_that_has_it_now_and_the_stores_own_go_first() -> None:
    wanted = Command("acme", "cam-1", "pan")
    able, other = (
        MqttGrant(device="cam-1", commands=("pan",)),
        MqttGrant(device="cam-1", channel="#", commands=("tilt",)),
    )
    assert may_command(wanted, [view(able, tenant="bolt"), view(other)], SHELF[0]) is None
    assert may_command(wanted, [view(other), view(able)], None) == view(able)
    store = view(able, job="own", store=True)
    assert may_command(wanted, [view(able), store], SHELF[0]) == store
    by_zone = view(MqttGrant(zone="shelf", commands=("*",)))
    assert may_command(wanted, [by_zone], SHELF[0]) == by_zone
    assert may_command(wanted, [by_zone], None) is None
    assert may_command(Command("acme", "temp-2", "pan"), [by_zone], SHELF[2]) is None


@pytest.mark.parametrize(
    ("topic", "may"),
    [
        ("tenants/acme/answers", True),
        ("tenants/acme/devices/cam-1/cmd/pan/ack", True),
        ("tenants/acme/devices/cam-1/cmd/pan", False),  # it would be a command
        ("tenants/acme/jobs/j/devices", False),
        ("tenants/acme", False),
        ("tenants/bolt/answers", False),
        ("tenants/acme/+", False),
        ("tenants/acme/#", False),
        ("tenants/acme/a\0", False),
        ("devices/cam-1/cmd/pan", False),
        ("$CONTROL/dynamic-security/v1", False),
        ("", False),
    ],
)
def test_an_answer_goes_to_its_own_tenant_and_over_nothing_of_the_agents(topic: str, may: bool) -> None:
    assert may_answer("acme", topic) is may


# --- documents -----------------------------------------------------------------------------------


def test_a_job_finds_its_devices_in_a_document() -> None:
    grants = (
        MqttGrant(zone="shelf", channel="t", commands=("on",)),
        MqttGrant(device="temp-1", channel="#", commands=("*",)),
        MqttGrant(device="to-come", channel="t"),
    )
    ((topic, payload),) = documents([view(*grants)], SHELF).items()
    assert topic == "tenants/acme/jobs/j/devices"
    assert json.loads(payload) == [
        {"id": "cam-1", "registered": True, "zone": "shelf", "class": "camera", "channels": ["t"], "commands": ["on"]},
        {"id": "temp-1", "registered": True, "zone": "shelf", "class": "thermometer", "channels": ["#", "t"],
         "commands": ["*", "on"]},
        {"id": "to-come", "registered": False, "zone": "", "class": "", "channels": ["t"], "commands": []},
    ]  # fmt: skip


DOCUMENTS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([b"1", b"2"]))


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_published_makes_the_one_of_the_other_and_nothing_is_said_twice(told, now) -> None:
    said = to_publish(told, now)
    assert {topic: payload for topic, payload in {**told, **said}.items() if payload} == now
    assert all(told.get(topic) != payload for topic, payload in said.items())


# --- whatever is granted -------------------------------------------------------------------------

LEVEL = st.sampled_from(["t", "cmd", "a", "", "status"])
WORDS = st.lists(LEVEL | st.just("+"), min_size=1, max_size=3).map("/".join)
CHANNELS = WORDS.filter(lambda channel: channel[:3] != "cmd") | st.just("#")
DEVICES = st.sampled_from(["cam-1", "temp-1"])
GRANTS = st.builds(MqttGrant, DEVICES, channel=CHANNELS, commands=st.sampled_from([(), ("on",)]))
TOPICS = st.lists(
    st.sampled_from(["devices", "tenants", "acme", "bolt", "cam-1", "lamp-1", "cmd", "on", "t", "", "$SYS", "jobs"]),
    min_size=1, max_size=6,
).map("/".join)  # fmt: skip


@given(st.lists(GRANTS, max_size=3), TOPICS)
def test_nobody_reads_commands_or_devices_or_tenants_that_are_not_his(grants, topic) -> None:
    found = acls(view(*grants), SHELF)
    levels = topic.split("/")
    if reads(found, topic):
        mine = levels[:2] == ["tenants", "acme"]
        granted = levels[0] == "devices" and levels[1] in {g.device for g in grants} and levels[2:3] != ["cmd"]
        assert mine or granted
    if sends(found, topic):
        assert levels[:2] == ["tenants", "acme"]
