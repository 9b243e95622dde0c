from pathlib import Path

from agent.launcher.operation import Mount, Run, Unmount, WriteSecrets


def test_a_secret_is_not_in_what_is_said_of_a_step() -> None:
    step = WriteSecrets(Path("/s"), 7, ("TOKEN",), (b"hunter2",))
    assert step.describe() == "write 1 secrets of uid 7 to /s: TOKEN"
    assert "hunter2" not in repr(step)


def test_steps_read_like_commands() -> None:
    assert Run(("/usr/sbin/nft", "-f", "-"), "abc", "rules").describe() == "run (rules): /usr/sbin/nft -f - < 3 bytes"
    assert Run(("true",)).describe() == "run: true"
    assert (
        Mount("tmpfs", Path("/s"), "tmpfs", 6, "size=1k").describe() == "mount -t tmpfs -o size=1k (flags 0x6) tmpfs /s"
    )
    assert Unmount(Path("/s")).describe() == "umount -l /s"
