"""agent/jobs/images/skopeo.py, what its last words mean. Run for real: tests/integration/test_images_*.py."""

from pathlib import Path

import pytest

from agent.config.schema import ImagesConfig
from agent.errors import AwayError, CorruptError, StorageError
from agent.jobs.images.skopeo import Skopeo, failure

# As skopeo 1.9.3 wrote them here.
FATAL = 'time="2026-11-22T21:27:58Z" level=fatal msg="{}"\n'
PARSING = 'Error parsing image name \\"docker://127.0.0.1:5055/a/b@sha256:00\\": '


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (FATAL.format("writing blob: write /x/oci-put-blob25: file too large"), CorruptError, "something else"),
        (FATAL.format("writing blob: write /x/oci-put-blob25: no space left on device"), StorageError, "no room"),
        (FATAL.format("writing blob: Digest did not match, expected sha256:a, got sha256:b"), CorruptError, "expected"),
        (FATAL.format(PARSING + "manifest unknown: manifest unknown"), AwayError, ": manifest unknown: manifest unkn"),
        (
            FATAL.format(PARSING + "pinging container registry x: dial tcp: connect: connection refused"),
            AwayError,
            "the image can't be fetched: pinging container registry x: dial tcp: connect: connection refused",
        ),
        ("prlimit: failed to execute skopeo: No such file or directory\n", AwayError, "apt install skopeo"),
        ("", AwayError, "skopeo ended with 7"),
    ],
)
def test_last_words_are_sorted_by_what_the_caller_does(said: str, kind: type[Exception], text: str) -> None:
    error = failure(said, 7)
    assert type(error) is kind
    assert text in str(error)


def test_what_it_is_pointed_at_is_not_written_again_so_that_a_full_disk_keeps_no_agent_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Skopeo(ImagesConfig(), tmp_path / "skopeo", "x86_64").prepare()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agent.jobs.images.skopeo.write_atomic", full)
    Skopeo(ImagesConfig(), tmp_path / "skopeo", "x86_64").prepare()
    (tmp_path / "skopeo/policy.json").write_text("{}")
    with pytest.raises(OSError, match="No space"):
        Skopeo(ImagesConfig(), tmp_path / "skopeo", "x86_64").prepare()
