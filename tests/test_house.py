"""The house keeps its own rules: lint, types, layers, generated code, the map of the tests. `./dev lint` runs it."""

import filecmp
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def run(*argv: str | Path) -> str:
    done = subprocess.run([str(w) for w in argv], cwd=TOP, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*patterns: str) -> list[str]:
    # Also files not yet committed: the rules hold before the commit.
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns).splitlines()
    return [name for name in listed if (TOP / name).exists()]


def test_ruff_finds_nothing() -> None:
    run(BIN / "ruff", "check", "--no-cache", ".")


def test_the_formatter_would_change_nothing() -> None:
    run(BIN / "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.timeout(300)
def test_mypy_strict_is_clean() -> None:
    run(BIN / "mypy", "--cache-dir", "/tmp/store-edge-agent-mypy")


@pytest.mark.timeout(300)
def test_pyright_strict_is_clean() -> None:
    run(BIN / "pyright", "--pythonpath", sys.executable)


def test_everybody_imports_downwards_only() -> None:
    env = ["env", f"PYTHONPATH={TOP}:{TOP / 'proto'}"]
    run(*env, BIN / "lint-imports", "--no-cache")


def test_shell_scripts_pass_shellcheck() -> None:
    scripts = [
        name for name in tracked() if (TOP / name).read_bytes()[:64].startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))
    ]
    assert "dev" in scripts
    run("shellcheck", *scripts)


def test_generated_code_is_what_the_protos_say(tmp_path: Path) -> None:
    sys.path.insert(0, str(TOP / "proto"))
    from generate import generate

    generate(tmp_path)
    fresh = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*_pb2*")}
    committed = TOP / "proto"
    assert fresh == {str(p.relative_to(committed)) for p in committed.rglob("*_pb2*.py*") if p.suffix != ".pyc"}
    _, differ, missing = filecmp.cmpfiles(tmp_path, committed, sorted(fresh), shallow=False)
    assert (differ, missing) == ([], []), "run ./dev proto and commit what it wrote"


def test_the_protos_keep_to_bufs_names() -> None:
    for path in (TOP / "proto/storeedge/v1").glob("*.proto"):
        text = path.read_text()
        assert "package storeedge.v1;" in text, path
        assert len(re.findall(r"^service ", text, re.MULTILINE)) <= 1, f"{path}: one service a file"
        for name, body in re.findall(r"^enum (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
            values = re.findall(r"^\s+([A-Z_0-9]+) = (\d+);", body, re.MULTILINE)
            assert values[0] == (f"{prefix}_UNSPECIFIED", "0"), f"{path}: {name}"
            assert all(value.startswith(prefix) for value, _ in values), f"{path}: {name}"


def test_every_unit_test_stands_where_its_subject_does() -> None:
    strays = []
    for name in tracked("tests/agent/*.py", "tests/central/*.py"):
        path = Path(name)
        if not path.name.startswith("test_"):
            continue
        subject = TOP / path.relative_to("tests").with_name(path.name.removeprefix("test_"))
        package, entry = subject.with_suffix(""), subject.with_name(f"__{subject.stem}__.py")
        if not subject.exists() and not package.is_dir() and not entry.exists():
            strays.append(name)
    assert strays == []


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [path.name[:4] for path in (TOP / "docs/decisions").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))
    assert numbers


def test_every_dependency_is_decided_somewhere() -> None:
    text = (TOP / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    extras = re.search(r"^\[project.optional-dependencies\](.*?)^\[project.scripts\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None and extras is not None
    names = set(re.findall(r'"([A-Za-z0-9-]+)[\[><=~"]', block[1] + extras[1]))
    decided = "".join(path.read_text().lower() for path in (TOP / "docs/decisions").glob("*.md"))
    assert sorted(name for name in names if name.lower() not in decided) == []


def test_no_file_outgrows_a_head() -> None:
    """About 350 lines; a test file is a list of sentences, each read alone, and may have 500."""
    long = [
        f"{name}: {lines}"
        for name in tracked("*.py")
        if not name.startswith("proto/")
        and (lines := len((TOP / name).read_text().splitlines())) > (500 if name.startswith("tests/") else 350)
    ]
    assert long == []
