import asyncio

import pytest

from central.lane import OpenLane, Register
from central.names import NodeName
from central.refusal import RefusedError
from storeedge.v1.control_pb2 import Ack, CentralFrame, Drain
from storeedge.v1.desired_pb2 import Desired
from storeedge.v1.types_pb2 import LANE_CONTROL

FRAME = CentralFrame(ack=Ack(seq=1))


def lane(*, full: bool = False) -> OpenLane:
    ended = asyncio.get_running_loop().create_future()
    made = OpenLane(1, NodeName("s", "n"), LANE_CONTROL, "e", "1", ended, 0.0, 0, 0)
    while full and not made.outbound.full():
        made.offer(FRAME)
    return made


async def test_a_desired_state_that_finds_no_room_ends_the_lane_instead_of_getting_lost() -> None:
    stuck, wish = lane(full=True), CentralFrame(desired=Desired(revision=2))
    stuck.wish(wish)
    refusal = stuck.ended.result()
    assert refusal is not None and refusal.reason == "DRAINING"
    sound = lane()
    sound.wish(wish)
    assert sound.outbound.get_nowait() == wish and not sound.ended.done()


async def test_who_waits_for_room_does_not_outwait_the_lane() -> None:
    stuck = lane(full=True)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(stuck.send(FRAME)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        stuck.end(None)
    with pytest.raises(RefusedError, match="not connected"):
        await stuck.send(FRAME)


async def test_a_lane_that_drains_says_so_before_it_ends() -> None:
    sound = lane()
    sound.drain(2)
    assert sound.outbound.get_nowait() == CentralFrame(drain=Drain(deadline_seconds=2))
    assert sound.outbound.get_nowait() is None


async def test_a_lane_that_opens_while_central_drains_is_drained_too() -> None:
    register, late = Register(), lane()
    register.drain(2)
    with register.holding(late):
        assert late.outbound.get_nowait() == CentralFrame(drain=Drain(deadline_seconds=2))
