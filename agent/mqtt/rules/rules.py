"""The rules in force: the operator's before central's, what they remember, and who must wait behind whom."""

from collections.abc import Callable, Container, Sequence

from agent.model import DeviceMessage
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.compile import Rule, RuleSet, compile_rules, lowest
from agent.mqtt.rules.judge import Hold, Pass, Why, judge, still
from agent.mqtt.rules.memory import Memory
from agent.mqtt.topics import parse
from agent.spec import DeviceRule


class Rules:
    """The first rule that matches decides, and what the operator chose on site is asked first.

    A message whose topic is in `backlog` is held behind what is held already, so that order is kept.
    """

    def __init__(self, backlog: Backlog, changed: Callable[[], None] = lambda: None) -> None:
        self._backlog = backlog
        self._changed = changed
        self._memory = Memory()
        self._central: tuple[DeviceRule, ...] = ()
        self._operator: tuple[DeviceRule, ...] = ()
        self._set = RuleSet()
        self.find: Callable[[str], Rule | None] = self._set.find
        """The first rule whose filter matches a topic. An attribute: it is asked for each message."""
        self.waiting: Container[str] = backlog.topics
        """The topics of messages that are held."""
        self._loud: frozenset[str] = frozenset()
        self._lowest: dict[str, Rule] = {}

    def set_central(self, rules: Sequence[DeviceRule]) -> None:
        """From the next message on. RefusedError BAD_REQUEST when one can't be: then the old ones stay."""
        compile_rules(rules)
        self._put(self._operator, tuple(rules))

    def set_operator(self, rules: Sequence[DeviceRule]) -> None:
        """As `set_central`, for the file on site."""
        compile_rules(rules)
        self._put(tuple(rules), self._central)

    def set_loud(self, devices: frozenset[str]) -> None:
        """From the next message on, what these say is the first to give way, whatever their rules say."""
        if devices != self._loud:
            self._loud = devices
            self._aim()

    def judge(self, rule: Rule, topic: str, payload: bytes, now_seconds: float) -> Pass | Why:
        found = judge(rule, topic, payload, self._memory, now_seconds)
        if isinstance(found, Pass) and found.hold is not None:
            self._backlog.expect(topic)
        return found

    def still(self, message: DeviceMessage) -> DeviceMessage | None:
        """What may leave of a message that was held under other rules, by those of now."""
        rule = self.find(message.topic)
        return message if rule is None else still(rule, message)

    def behind(self, topic: str) -> Hold:
        """How a message of a waiting topic is held, that would else go at once."""
        self._backlog.expect(topic)
        return Hold(0.0)

    def gone(self, topic: str) -> None:
        """A message that was to be held has expired first: nobody waits behind it."""
        self._backlog.settle(topic)

    def _put(self, operator: tuple[DeviceRule, ...], central: tuple[DeviceRule, ...]) -> None:
        if (operator, central) == (self._operator, self._central):
            return
        self._set = compile_rules((*operator, *central))
        self._lowest.clear()
        self._aim()
        self._operator, self._central = operator, central
        self._memory.batch_ends_seconds.clear()
        self._changed()

    def _aim(self) -> None:
        """Nobody pays for who is loud but while somebody is."""
        self.find = self._find_lowest if self._loud else self._set.find

    def _find_lowest(self, topic: str) -> Rule | None:
        rule, where = self._set.find(topic), parse(topic)
        if where is None or where.device not in self._loud:
            return rule
        name = "" if rule is None else rule.spec.filter
        if name not in self._lowest:
            self._lowest[name] = lowest(rule)
        return self._lowest[name]
