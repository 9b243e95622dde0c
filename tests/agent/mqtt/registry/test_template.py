"""Templates: the common forms, and nothing else."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.template import UNREADABLE, path


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ value }}", None),
        ("{{value}}", None),
        ("{{ value | float }}", None),
        ("{{ value|int(0)|round(2) }}", None),
        ("{{ value_json }}", ()),
        ("{{ value_json.temperature }}", ("temperature",)),
        ("{{ value_json.x.y|float }}", ("x", "y")),
        ("{{ value_json['DHT11'].Temperature }}", ("DHT11", "Temperature")),
        ('{{ value_json["a b"]["c"] | round(1) }}', ("a b", "c")),
        ("{{- value_json.a[0] -}}", ("a", 0)),
        ("  {{ value_json.a }}\n", ("a",)),
    ],
)
def test_a_common_form_is_a_path(template, expected):
    assert path(template) == expected


@pytest.mark.parametrize(
    "template",
    [
        "",
        "value_json.a",
        "{{ value_json.a",
        "{{ value_json.a }} W",
        "{{ value_json.a * 10 }}",
        "{{ value_json.a | default(0) }}",
        "{{ value.a }}",
        "{{ values }}",
        "{{ value_json. }}",
        "{{ value_json['a\\'] }}",
        "{% if value_json.a %}on{% endif %}",
        "{{ value_json" + ".a" * 9 + " }}",
        "{{ value_json." + "a" * 300 + " }}",
    ],
)
def test_any_other_is_unreadable(template):
    assert path(template) is UNREADABLE


@given(st.text(alphabet="{}value_json.[]'\"| float(0)-\n", max_size=300))
def test_no_text_raises_or_takes_long(template):
    began = time.perf_counter()
    path("{{ value_json" + template)
    assert time.perf_counter() - began < 0.1
