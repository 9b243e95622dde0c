"""agent/jobs/images/keep.py."""

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.images.keep import Kept, forget

IMAGES = st.lists(
    st.builds(Kept, st.uuids().map(str), st.integers(0, 100), st.integers(0, 5), st.booleans()), max_size=12
)


@given(IMAGES, st.integers(0, 300))
def test_as_few_as_needed_go_and_none_that_a_job_names(images: list[Kept], limit_bytes: int) -> None:
    gone = forget(images, limit_bytes)
    by_digest = {image.digest: image for image in images}
    assert not any(by_digest[digest].wanted for digest in gone)
    rest = sum(image.disk_bytes for image in images if image.digest not in gone)
    spare = [image for image in images if not image.wanted and image.digest not in gone and image.disk_bytes]
    assert rest <= limit_bytes or not spare
    if gone:  # without the last one it would not have been enough
        assert rest + by_digest[gone[-1]].disk_bytes > limit_bytes
    newest = max((by_digest[digest].last_used_unix_nano for digest in gone), default=0)
    assert all(image.last_used_unix_nano >= newest for image in spare)
