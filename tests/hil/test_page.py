"""The page of a run says what happened, and lets nothing that a board said become markup."""

import json
from pathlib import Path

from hil import page

JUNIT = """<testsuites><testsuite>
<testcase name="test_it_boots" file="suite/test_1_boot.py" time="38.97" />
<testcase name="test_a_cut[a]" file="suite/test_6.py" time="61.2"><properties>
<property name="injected" value="12.1 s: power cut" /></properties>
<failure message="short">AssertionError: &lt;script&gt;</failure></testcase>
<testcase name="test_usb" file="suite/test_7.py" time="0.0">
<skipped type="pytest.skip" message="unsupported feature(s): usb">/x/hooks.py:1: unsupported</skipped></testcase>
</testsuite></testsuites>"""


def test_each_test_has_its_outcome_its_reason_and_what_was_injected() -> None:
    boots, cut, usb = page.tests(JUNIT)
    assert (boots.name, boots.file, boots.seconds, boots.outcome) == (
        "test_it_boots",
        "test_1_boot.py",
        38.97,
        "passed",
    )
    assert (cut.outcome, cut.said) == ("failed", "AssertionError: <script>")
    assert cut.properties == (("injected", "12.1 s: power cut"),)
    assert (usb.outcome, usb.said) == ("skipped", "unsupported feature(s): usb")


def test_the_page_is_whole_and_escapes_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    (tmp_path / "times.json").write_text(json.dumps({"to booted": 38.9}))
    (tmp_path / "figures.json").write_text(json.dumps({"PSS <agent>": "41.2 MiB"}))
    (tmp_path / "test_a_cut[a].journal").touch()
    page.write("qemu-x86", tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "qemu-x86: 1 passed, 1 failed, 0 error, 1 skipped in 2 min" in text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "PSS &lt;agent&gt;" in text
    assert "12.1 s: power cut" in text
    assert 'href="test_a_cut%5Ba%5D.journal"' in text


def test_a_run_that_got_nowhere_leaves_no_page(tmp_path: Path) -> None:
    page.write("qemu-x86", tmp_path)
    assert list(tmp_path.iterdir()) == []
