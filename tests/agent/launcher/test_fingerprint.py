from dataclasses import replace

from agent.launcher.fingerprint import fingerprint
from agent.launcher.protocol import NetworkRequest, Reach
from tests.fakes.launcher import FULL


def test_a_request_is_known_again_by_its_words_and_the_key() -> None:
    assert fingerprint(FULL, b"k") == fingerprint(replace(FULL), b"k")
    assert fingerprint(FULL, b"k") != fingerprint(FULL, b"other")
    assert fingerprint(FULL, b"k") != fingerprint(replace(FULL, secrets={"TOKEN": ""}), b"k")
    assert fingerprint(FULL, b"k") != fingerprint(replace(FULL, tenant="b"), b"k")


def test_what_a_run_may_reach_can_change_while_it_is_held() -> None:
    network = replace(FULL.network or NetworkRequest(), reach=Reach(cut=True))
    assert fingerprint(FULL, b"k") == fingerprint(replace(FULL, network=network), b"k")
    assert fingerprint(FULL, b"k") != fingerprint(replace(FULL, network=replace(network, peers=False)), b"k")
