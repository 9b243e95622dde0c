"""What the documents say, held against the code: examples parse, keys and reasons are complete, links lead on."""

import ast
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.jobs import metering
from agent.jobs.metering import ChainHead, Meter, Reading
from central.cli import document, document_job, document_rule
from central.cli.document import parse, read
from central.desired import check as check_desired

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
PAGES = sorted([TOP / "README.md", TOP / "CHANGELOG.md", TOP / "hil/README.md", *DOCS.rglob("*.md")])
TENANTS, PROTOCOL, APPLY = (
    (DOCS / name).read_text(encoding="utf-8") for name in ("TENANTS.md", "PROTOCOL.md", "APPLY.md")
)
# Position of the reason among the arguments of what makes one in agent/jobs.
MAKES_A_REASON = {"Refusal": 0, "Evicted": 0, "_over": 0, "stop": 2, "over": 2, "restart_or_end": 2}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def listed(text: str) -> set[str]:
    """The reasons in the first column of a table whose second is a list of states."""
    states = r"(?:pending|preparing|starting|running|stopping|finished|failed|lost|rejected|backing-off)"
    rows = re.findall(rf"^\| (`[^|]*`) \| {states}(?:, {states})* \|", text, re.MULTILINE)
    return {reason for row in rows for reason in re.findall(r"`([a-z-]+)`", row)}


def made() -> Iterator[str]:
    for path in (TOP / "agent/jobs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = MAKES_A_REASON.get(name, len(node.args))
            found = [*node.args[place : place + 1], *(word.value for word in node.keywords if word.arg == "reason")]
            yield from (str(each.value) for each in found if isinstance(each, ast.Constant) and each.value)


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_an_example_can_be_applied(path: Path) -> None:
    check_desired(read(path).desired)


def test_examples_inside_pages_can_be_applied() -> None:
    whole, (job,) = "\n".join(blocks(APPLY, "toml")), blocks(TENANTS, "toml")
    check_desired(parse(whole).desired)
    check_desired(parse(whole + job).desired)


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (TENANTS, set(document_job.JOB)),
        (TENANTS, set(document_job._RESTART) | set(document_job._NETWORK) | set(document_job._HEALTH)),
        (TENANTS, {"job_port", "protocol", "service", "txt", "healthy", "file", "env"}),
        (APPLY, set(document._TENANT) | set(document._QUOTA) | set(document._BUDGET)),
        (APPLY, set(document_rule.RULE) | set(document_rule._BAND)),
        (APPLY, set(document._STORE) | set(document._HOURS) | set(document._RESERVE) | set(document._TOP)),
    ],
)
def test_every_key_of_the_applied_file_is_explained(page: str, fields: set[str]) -> None:
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    text = "\n".join([*blocks(page, "toml"), *re.findall(r"`[^`]+`", prose)])
    assert [key for key in sorted(fields) if not re.search(rf"\b{key}\b", text)] == []


def test_every_reason_of_a_job_is_explained_twice() -> None:
    assert listed(TENANTS) == listed(PROTOCOL)
    assert {reason for reason in made() if reason not in listed(TENANTS)} == set()


def test_the_page_for_tenants_checks_a_chain_as_the_node_makes_it() -> None:
    (code,) = blocks(TENANTS, "python")
    names: dict[str, Any] = {}
    exec(code, names)
    head, meter, samples = ChainHead(), Meter("j.1.1", "acme", "j", 1, 1, Reading(0, 0, 0, None)), []
    for number in (1, 2, 3):
        reading = Reading(number * 10**9, number * 10**9, number, 1 << 20, 0, number, 2 * number, 4096)
        meter, head, sample = metering.bill(meter, reading, head)
        samples.append(sample)
    assert names["first_bad"](samples) is None
    fields = {name: getattr(samples[1], name) for name in samples[1].__slots__}
    assert names["first_bad"]([samples[0], SimpleNamespace(**fields | {"cpu_nano": 7}), samples[2]]) == 2
    assert names["first_bad"]([samples[0], samples[2]]) == 2


def test_the_shell_s_check_in_the_protocol_is_right() -> None:
    ((text, told),) = re.findall(r"printf '([^']+)'\) \| sha256sum\n([0-9a-f]{64})", PROTOCOL)
    assert sha256(bytes(32) + text.replace("\\n", "\n").encode()).hexdigest() == told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_architecture_names_every_file_of_jobs_and_launcher_and_no_other() -> None:
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for package in ("jobs", "launcher"):
        section = page.split(f"### `agent/{package}`")[1].split("\n#")[0]
        named = {
            name
            for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", row)
        }
        there = {path.stem for path in (TOP / "agent" / package).glob("*.py")} - {"__init__", "__main__"}
        assert named == there


def test_tests_that_the_threats_name_are_there() -> None:
    page = (DOCS / "THREATS.md").read_text(encoding="utf-8")
    places = {"i": "tests/integration", "a": "tests/agent", "hil": "hil/suite"}
    for place, name in set(re.findall(r"`(i|a|hil|central|sandbox|fuzz|faults)/([\w/]+)`", page)):
        folder, _, file = f"{places.get(place, f'tests/{place}')}/{name}".rpartition("/")
        pattern = f"test_{file}_*.py" if place == "hil" else f"test_{file}.py"
        assert list((TOP / folder).glob(pattern)), f"{place}/{name}"
