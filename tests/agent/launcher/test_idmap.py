import os

import pytest

from agent.launcher import idmap


def test_kernels_are_known_by_their_numbers() -> None:
    assert idmap.supported("6.1.0-21-amd64") and idmap.supported("5.12.0") and idmap.supported("6.18.44-fc-v595")
    assert not idmap.supported("5.10.0-28-amd64") and not idmap.supported("4.19")


def test_a_refusal_of_the_kernel_is_an_oserror_that_names_what() -> None:
    with pytest.raises(OSError, match="Bad file descriptor: 'syncfs'"):
        idmap.sync(-1)


def test_a_file_system_that_can_be_written_is_synced(tmp_path: object) -> None:
    fd = os.open(str(tmp_path), os.O_RDONLY)
    idmap.sync(fd)
    os.close(fd)
