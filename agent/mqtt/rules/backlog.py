"""Which topics have messages that are held: the account that keeps the order of a topic. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Backlog:
    """How many messages of each topic are held, or on their way there.

    A message of such a topic must wait behind them, whatever its own rule says.
    """

    topics: dict[str, int] = field(default_factory=dict[str, int])

    def expect(self, topic: str) -> None:
        self.topics[topic] = self.topics.get(topic, 0) + 1

    def settle(self, topic: str, count: int = 1) -> None:
        left = self.topics.get(topic, 0) - count
        if left > 0:
            self.topics[topic] = left
        else:
            self.topics.pop(topic, None)
