"""When which device has to be looked at, because it may have been silent for too long. Pure."""

import heapq

_SLOT_NANO = 5 * 1_000_000_000


class Watch:
    """Slots of five seconds: what is due costs its number, what isn't costs nothing, however many are watched."""

    def __init__(self) -> None:
        self._slots: dict[int, list[str]] = {}
        self._order: list[int] = []
        self._slot_of: dict[str, int] = {}

    def put(self, device: str, due_unix_nano: int) -> None:
        """Once, at that time or up to a slot later; in place of what was put for this device before."""
        number = due_unix_nano // _SLOT_NANO + 1
        if self._slot_of.get(device) == number:
            return
        self._slot_of[device] = number
        slot = self._slots.get(number)
        if slot is None:
            self._slots[number] = slot = []
            heapq.heappush(self._order, number)
        slot.append(device)

    def drop(self, device: str) -> None:
        self._slot_of.pop(device, None)

    def take_due(self, now_unix_nano: int) -> list[str]:
        due: list[str] = []
        while self._order and self._order[0] * _SLOT_NANO <= now_unix_nano:
            number = heapq.heappop(self._order)
            for device in self._slots.pop(number):
                if self._slot_of.get(device) == number:  # else it was put elsewhere since
                    del self._slot_of[device]
                    due.append(device)
        return due
