"""What the kernel doesn't take at once goes out later, in order; what nobody takes any more is thrown away."""

import asyncio
import socket

from agent.mqtt.wire.sender import Sender


async def test_what_does_not_fit_waits_and_goes_out_in_order():
    loop, told = asyncio.get_running_loop(), []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        sender = Sender(loop, ours, lambda: told.append(sender.is_empty))
        whole = bytes(range(256)) * 8192
        sender.send(whole)
        sender.send(b"end")
        assert not sender.is_empty and told == [False]
        found = bytearray()
        async with asyncio.timeout(10):
            while len(found) < len(whole) + 3:
                found += await loop.sock_recv(theirs, 1 << 16)
        assert found == whole + b"end"
        assert sender.is_empty and told[-1] is True
        sender.close()


async def test_a_write_that_fails_waits_for_nobody():
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        theirs.close()
        sender = Sender(asyncio.get_running_loop(), ours, lambda: None)
        sender.send(b"lost")
        assert sender.is_empty
