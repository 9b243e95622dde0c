"""Which messages a power cut may cost, and which it may not."""

from collections import Counter

from hil import cuts
from hil.cuts import Life, Moment

LIFE = Life(on=100.0, cut=200.0, agent=140.0)
AGENTLESS = Life(on=300.0, cut=330.0, agent=None)


def test_the_same_seed_gives_the_same_cuts_and_every_moment_has_some() -> None:
    first = cuts.schedule(7, 50)
    assert first == cuts.schedule(7, 50)
    assert first != cuts.schedule(8, 50)
    assert {cut.moment for cut in first} == set(Moment)
    assert {cut.central_away for cut in first} == {True, False}
    assert not any(cut.central_away for cut in first if cut.moment is Moment.BOOT)


def test_what_was_acknowledged_before_the_margin_is_promised() -> None:
    acknowledged = {("a", 1): 196.9, ("a", 2): 197.1}
    (loss,) = cuts.judge([LIFE], acknowledged, Counter())
    assert (loss.missing, loss.missing_last_moment, loss.last_moment) == ((("a", 1),), 1, 1)
    assert round(loss.window, 1) == 3.1


def test_without_an_agent_the_brokers_interval_counts_too() -> None:
    acknowledged = {("a", 1): 316.9, ("a", 2): 317.1}
    (loss,) = cuts.judge([AGENTLESS], acknowledged, Counter())
    assert loss.missing == (("a", 1),)
    late = Life(on=300.0, cut=330.0, agent=328.0)
    (loss,) = cuts.judge([late], acknowledged, Counter())
    assert loss.missing == (("a", 1),)


def test_each_message_counts_in_the_life_that_acknowledged_it() -> None:
    acknowledged = {("a", 1): 150.0, ("a", 2): 200.4, ("a", 3): 310.0, ("a", 4): 400.0}
    first, second = cuts.judge([LIFE, AGENTLESS], acknowledged, Counter({("a", 1): 1, ("a", 2): 2, ("a", 3): 1}))
    assert (first.acknowledged, first.twice, first.missing) == (2, 1, ())
    assert (second.acknowledged, second.missing, second.window) == (1, (), 0.0)
