"""The account of held messages."""

from agent.mqtt.rules.backlog import Backlog


def test_a_topic_is_in_the_account_until_its_last_message_is_gone() -> None:
    backlog = Backlog()
    backlog.expect("a")
    backlog.expect("a")
    backlog.settle("a")
    assert backlog.topics == {"a": 1}
    backlog.settle("a")
    assert backlog.topics == {}


def test_settling_what_is_not_there_is_nothing() -> None:
    backlog = Backlog()
    backlog.settle("a", 3)
    assert backlog.topics == {}
