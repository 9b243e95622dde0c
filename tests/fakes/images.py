"""Images without a registry: the test says what a reference becomes, and when."""

import asyncio

from agent.sandbox import ImageState


class FakeImages:
    """`fetch` of agent.jobs.artifact.Artifacts. A reference without an answer waits until it has one."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.answers = {}  # reference -> digest, or an error to raise
        self.fetched = []
        self.cancelled = []
        self.say = None

    def has(self, reference, digest="sha256:" + "0" * 64, state="ready", **changes):
        """The launcher has it unpacked, or in `state`."""
        self.answers[reference] = digest
        self.sandbox.stored[digest] = ImageState(digest, state, **changes)

    async def fetch(self, reference, progress):
        self.fetched.append(reference)
        try:
            while reference not in self.answers:
                if self.say:
                    progress(self.say)
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.append(reference)
            raise
        answer = self.answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer
