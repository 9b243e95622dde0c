import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher.policy import Policy, PolicyError, check, check_image, parse, read
from agent.launcher.protocol import LauncherError
from tests.fakes.launcher import FULL, REQUEST


def test_a_file_gives_a_policy(tmp_path: Path) -> None:
    file = tmp_path / "launcher.toml"
    file.write_text('agent_uid = 990\nmax_runs = 4\nruntime = "/opt/runsc"\n')
    assert read(file) == Policy(agent_uid=990, max_runs=4, runtime="/opt/runsc")


def test_a_user_is_looked_up() -> None:
    assert parse({"agent_user": pwd.getpwuid(os.getuid()).pw_name}, "f").agent_uid == os.getuid()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"agent_uid": 1, "max_run": 1}, "f: max_run: unknown key; allowed: agent_user, agent_uid, max_runs"),
        ({}, "agent_user: name the one user"),
        ({"agent_uid": 1, "agent_user": "root"}, "agent_user: name the one user"),
        ({"agent_user": "no-such-user-here"}, "agent_user: must be the name of a user"),
        ({"agent_user": 5}, "agent_user: must be the name of a user"),
        ({"agent_uid": True}, "agent_uid: must be an integer in 0.."),
        ({"agent_uid": -1}, "agent_uid: must be an integer in 0.."),
        ({"agent_uid": 1, "max_runs": 0}, "max_runs: must be an integer in 1..512"),
        ({"agent_uid": 1, "max_memory_bytes": "1G"}, "max_memory_bytes: must be an integer"),
        ({"agent_uid": 1, "images": ["host", "x"]}, "images: must be a list"),
        ({"agent_uid": 1, "images": "host"}, "images: must be a list"),
        ({"agent_uid": 1, "images": [["host"]]}, "images: must be a list"),
        ({"agent_uid": 1, "runtime": "podman"}, "runtime: must be"),
        ({"agent_uid": 1, "image_dir": "images"}, "image_dir: must be"),
        ({"agent_uid": 1, "network": "10.0.0.1/16"}, "network: must be"),
        ({"agent_uid": 1, "network": "10.0.0.0/22"}, "network: must be true, false or an IPv4 network of /8../21"),
        ({"agent_uid": 1, "network": 1}, "network: must be"),
        ({"agent_uid": 1, "egress": "no"}, "egress: must be"),
        ({"agent_uid": 1, "mqtt_dir": "jobs"}, "mqtt_dir: must be an absolute path, or empty"),
        ({"agent_uid": 1, "mqtt_dir": False}, "mqtt_dir: must be"),
        ({"agent_uid": 1, "publish_ports": "80"}, "publish_ports: must be"),
        ({"agent_uid": 1, "publish_ports": ["90-80"]}, "publish_ports: must be"),
        ({"agent_uid": 1, "publish_ports": ["0"]}, "publish_ports: must be"),
        ({"agent_uid": 1, "publish_ports": ["65536"]}, "publish_ports: must be"),
    ],
)
def test_a_wrong_key_stops_the_start_with_its_name(raw: dict[str, object], says: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse(raw, "f")
    assert says in str(refused.value)


def test_without_a_readable_file_nobody_may_call(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        read(tmp_path / "none")
    (tmp_path / "broken").write_text("a = [")
    with pytest.raises(PolicyError, match="broken"):
        read(tmp_path / "broken")


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Policy(0, max_disk_bytes=(8 << 20) - 1), "disk_bytes"),
        (Policy(0, network=""), "network"),
        (Policy(0, egress=False), "destinations"),
        (Policy(0, publish_ports=((20081, 20089),)), "publish"),
        (Policy(0, max_cpu_milli=499), "cpu_milli"),
        (Policy(0, max_memory_bytes=(64 << 20) - 1), "memory_bytes"),
        (Policy(0, images=()), "image"),
    ],
)
def test_root_has_the_last_word_on_limits(policy: Policy, field: str) -> None:
    with pytest.raises(LauncherError) as refused:
        check(policy, FULL)
    assert (refused.value.code, refused.value.field) == ("not-allowed", field)
    check(Policy(0), FULL)


def test_the_way_to_the_broker_is_roots_to_close() -> None:
    asks = replace(REQUEST, mqtt=True)
    check(parse({"agent_uid": 1}, "f"), asks)
    shut = parse({"agent_uid": 1, "mqtt_dir": ""}, "f")
    with pytest.raises(LauncherError) as refused:
        check(shut, asks)
    assert (refused.value.code, refused.value.field) == ("not-allowed", "mqtt")
    check(shut, REQUEST)


def test_images_by_digest_are_allowed_by_root_alone() -> None:
    image = "sha256:" + "a" * 64
    with pytest.raises(LauncherError, match="image: one of host"):
        check_image(Policy(0, images=("host",)), image)
    check_image(Policy(0), image)
    check_image(Policy(0, images=("oci",)), image)
    with pytest.raises(LauncherError, match="image: one of oci"):
        check_image(Policy(0, images=("oci",)), "host")


def test_a_network_is_the_usual_one_another_or_none() -> None:
    found = [parse({"agent_uid": 1, "network": value}, "f").network for value in (True, "172.30.0.0/16", False)]
    assert found == ["10.222.0.0/16", "172.30.0.0/16", ""]


def test_ports_are_single_or_from_first_to_last() -> None:
    assert parse({"agent_uid": 1, "publish_ports": ["80", "9000-9010"]}, "f").publish_ports == ((80, 80), (9000, 9010))
