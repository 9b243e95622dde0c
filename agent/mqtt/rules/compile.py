"""Rules, compiled: a tree of topic levels that finds the first rule whose filter matches. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agent.errors import RefusedError
from agent.mqtt.rules.words import wrong
from agent.spec import DeviceRule, Residency

# The answer is kept for so many topics, then the cache begins anew: whoever makes up topics costs time, not memory.
_REMEMBERED = 4096
_NONE = 1 << 30


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be asked.

    `stays`: no message leaves the store. `passes`: every message leaves at once and as it is. `shown`: central may be
    told the topic and the last values of devices, which messages alone would not have told it.
    """

    spec: DeviceRule
    stays: bool
    passes: bool
    shown: bool
    band: tuple[str, ...]
    redact: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class _Node:
    """One level. `ends` and `rest` are the lowest numbers of rules that end here, and that end in `#` here."""

    ends: int = _NONE
    rest: int = _NONE
    plus: "_Node | None" = None
    named: dict[str, "_Node"] = field(default_factory=dict[str, "_Node"])


class RuleSet:
    """Rules in order: the first that matches decides."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._root = _Node()
        self._known: dict[str, Rule | None] = {}
        for number, rule in enumerate(self.rules):
            self._grow(rule.spec.filter.split("/"), number)

    def find(self, topic: str) -> Rule | None:
        """The first rule that matches, None without one."""
        if not self.rules:
            return None
        try:
            return self._known[topic]
        except KeyError:
            pass
        number = _lowest(self._root, topic.split("/"), topic.startswith("$"))
        found = self.rules[number] if number < _NONE else None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[topic] = found
        return found

    def _grow(self, levels: list[str], number: int) -> None:
        node = self._root
        for level in levels:
            if level == "#":
                node.rest = min(node.rest, number)
                return
            if level == "+":
                node.plus = node.plus or _Node()
                node = node.plus
            else:
                node = node.named.setdefault(level, _Node())
        node.ends = min(node.ends, number)


def _lowest(root: _Node, levels: list[str], reserved: bool) -> int:
    """The lowest number of a rule that matches. `reserved`: the topic begins with `$` (MQTT 5, 4.7.2)."""
    best = _NONE if reserved else root.rest
    nodes = [root]
    for depth, level in enumerate(levels):
        below: list[_Node] = []
        for node in nodes:
            named = node.named.get(level)
            if named is not None:
                below.append(named)
            if node.plus is not None and not (reserved and depth == 0):
                below.append(node.plus)
        for node in below:
            best = min(best, node.rest)
        nodes = below
    return min([best, *(node.ends for node in nodes)])


def compile_rules(rules: Sequence[DeviceRule]) -> RuleSet:
    """Raises RefusedError BAD_REQUEST that names the first rule that can't be, and the field: then none holds."""
    for number, rule in enumerate(rules, start=1):
        found = wrong(rule)
        if found is not None:
            raise RefusedError(
                "BAD_REQUEST", f"device rule {number} ({rule.filter[:128]!r}): {found.field}: {found.takes}"
            )
    return RuleSet(tuple(_compiled(rule) for rule in rules))


def lowest(rule: Rule | None) -> Rule:
    """The same, but for the priority; without one, what is forwarded as it is."""
    if rule is None:
        return _compiled(DeviceRule("#", priority=0))
    return replace(rule, spec=replace(rule.spec, priority=0))


def _compiled(rule: DeviceRule) -> Rule:
    stays = not rule.forward or rule.residency is Residency.STORE
    plain = DeviceRule(rule.filter, rule.forward, rule.residency, rule.priority, undecoded=rule.undecoded)
    return Rule(
        rule,
        stays=stays,
        passes=not stays and rule == plain,
        shown=not stays and not rule.redact,
        band=tuple(rule.dead_band.field.split(".")) if rule.dead_band is not None and rule.dead_band.field else (),
        redact=tuple(tuple(name.split(".")) for name in rule.redact),
    )
