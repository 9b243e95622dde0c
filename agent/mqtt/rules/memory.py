"""What rules remember of topics, bounded: the topic unheard of for longest is forgotten. Pure."""

from collections import OrderedDict
from dataclasses import dataclass

from agent.mqtt.rules.compile import Rule
from agent.spec import DeviceRule

# A topic takes some 300 bytes and its name. Devices can make up topics without end.
MAX_TOPICS = 10_000


@dataclass(slots=True)
class TopicMemory:
    """Of one topic under one rule. `tokens` as of `tokens_seconds`."""

    rule: DeviceRule
    tokens: float
    tokens_seconds: float
    seen: int = 0
    last_number: float | None = None
    window_ends_seconds: float = 0.0


class Memory:
    """By topic. Forgetting lets more out, never what a rule keeps in: the next message counts as the topic's first.

    A topic is also forgotten when another rule decides about it.
    """

    def __init__(self, max_topics: int = MAX_TOPICS) -> None:
        self._max_topics = max_topics
        self._topics: OrderedDict[str, TopicMemory] = OrderedDict()
        self.batch_ends_seconds: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._topics)

    def of(self, topic: str, rule: Rule, now_seconds: float) -> TopicMemory:
        found = self._topics.get(topic)
        if found is None or (found.rule is not rule.spec and found.rule != rule.spec):
            found = TopicMemory(rule.spec, float(rule.spec.max_per_minute), now_seconds)
            self._topics[topic] = found
            if len(self._topics) > self._max_topics:
                self._topics.popitem(last=False)
        self._topics.move_to_end(topic)
        return found
