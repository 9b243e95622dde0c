"""agent/jobs/images/reference.py."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.jobs.images.reference import Reference, parse

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"sha256:{HEX}", ""),
        (f"registry.example/shop/app@sha256:{HEX}", "registry.example/shop/app"),
        (f"registry.example:5000/app@sha256:{HEX}", "registry.example:5000/app"),
        (f"localhost/a/b/c@sha256:{HEX}", "localhost/a/b/c"),
        (f"[::1]:5000/app@sha256:{HEX}", "[::1]:5000/app"),
        (f"docker.io/library/nginx:1.27@sha256:{HEX}", "docker.io/library/nginx"),
        (f"ghcr.io/a__b/c-d.e@sha256:{HEX}", "ghcr.io/a__b/c-d.e"),
    ],
)
def test_an_image_is_a_place_and_a_digest(text: str, name: str) -> None:
    reference = parse(text)
    assert reference == Reference(f"sha256:{HEX}", name)
    assert reference.hex == HEX
    assert reference.registry == name.partition("/")[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no digest"),
        ("host", "has no digest"),
        ("docker.io/library/nginx:latest", "a tag may be moved"),
        (f"sha256:{HEX.upper()}", "has no digest"),
        (f"r.example/app@sha512:{HEX}", "64 hex digits"),
        (f"r.example/app@sha256:{HEX}0", "64 hex digits"),
        (f"nginx@sha256:{HEX}", "names no registry"),
        (f"library/nginx@sha256:{HEX}", "names no registry"),
        (f"r.example/@sha256:{HEX}", "no repository"),
        (f"r.example/../x@sha256:{HEX}", "no repository"),
        (f"r.example/a//b@sha256:{HEX}", "no repository"),
        (f"r.example/A@sha256:{HEX}", "no repository"),
        (f"r.example/a:@sha256:{HEX}", "is no tag"),
        (f"--flag.x/a@sha256:{HEX}", "names no registry"),
        (f"r.example/{'a' * 600}@sha256:{HEX}", "at most 512"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as refusal:
        parse(text)
    assert refusal.value.reason == "BAD_REQUEST"


@given(st.text(alphabet=string.printable + "é\0", max_size=80))
def test_what_is_accepted_is_safe_as_an_argument_and_as_a_file_name(name: str) -> None:
    try:
        reference = parse(f"{name}@sha256:{HEX}")
    except RefusedError:
        return
    assert set(reference.name) <= set(string.ascii_letters + string.digits + "._-/:[]")
    assert not reference.name.startswith("-")
    assert reference.hex == HEX
