import subprocess
import sys
import types
from pathlib import Path

import pytest

from agent.deferred import defer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module inside a package, that nobody has imported; it says how often it was loaded."""
    package = tmp_path / "spare_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text(
        "import builtins\nbuiltins.spare_loads += 1\nVALUE = 7\nSelf = 'the real one'\n"
        "def double(number):\n    return 2 * number\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("builtins.spare_loads", 0, raising=False)
    yield "spare_package.part"
    for name in ("spare_package", "spare_package.part"):
        sys.modules.pop(name, None)


def loads() -> int:
    import builtins

    return builtins.spare_loads


def test_importing_a_deferred_module_by_either_form_does_not_load_it(spare: str) -> None:
    defer(spare)
    import spare_package.part
    from spare_package import part

    assert isinstance(part, types.ModuleType)
    assert part is spare_package.part
    assert not hasattr(part, "__path__")
    assert loads() == 0


def test_the_first_use_loads_the_real_module_once_and_every_importer_sees_it(spare: str) -> None:
    defer(spare)
    from spare_package import part

    assert part.VALUE == 7
    assert part.VALUE == 7
    assert loads() == 1
    assert sys.modules[spare].__file__ is not None
    import spare_package.part

    assert spare_package.part is sys.modules[spare]


def test_a_missing_attribute_is_missing_as_in_the_real_module(spare: str) -> None:
    defer(spare)
    with pytest.raises(ImportError, match="cannot import name 'absent'"):
        from spare_package.part import absent  # noqa: F401


def test_what_is_known_does_not_load_the_module(spare: str) -> None:
    defer(spare, {"Self": "known"})
    from spare_package.part import Self

    assert (Self, loads()) == ("known", 0)


def test_a_function_that_was_imported_by_name_loads_the_module_when_it_is_called(spare: str) -> None:
    defer(spare, functions=("double",))
    from spare_package.part import double

    assert loads() == 0
    assert [double(2), double(number=3)] == [4, 6]
    assert loads() == 1


def test_a_module_that_is_there_stays(spare: str) -> None:
    import spare_package.part as there

    defer(spare)
    assert sys.modules[spare] is there


def daemon(code: str, first: str = "") -> str:
    """What Python says to `code` after all of the daemon is imported, as its entry point imports it."""
    start = f"{first}import sys; from agent.deferred import defer_unused; defer_unused(); import agent.cli.run\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
    )  # fmt: skip
    return done.stdout.strip()


def test_the_daemon_loads_nothing_that_only_an_unused_feature_of_a_library_needs() -> None:
    """Whoever begins to use one of these costs the store up to 1.3 MB: this says so."""
    unused = (
        "ast bz2 calendar difflib email.message google.protobuf.text_format http.client importlib.resources ipaddress "
        "locale lzma pkgutil platform shutil stringprep tempfile textwrap traceback typing_extensions unicodedata "
        "urllib.parse uuid"
    )
    code = "import socket; socket.getaddrinfo('localhost', 80); 'central.example'.encode('idna')\n"
    code += f"print(*(n for n in {unused!r}.split() if getattr(sys.modules.get(n), '__file__', None)))"
    assert daemon(code) == ""


def test_names_are_encoded_as_the_real_codec_does_it() -> None:
    names = ["localhost", "a.b-c.example", "a.", "", ".", "a..b", "x" * 63, "x" * 64, "bücher.example", "A.Example"]
    real = "import encodings.idna\n"
    code = f"""
for name in {names!r}:
    try:
        print(name.encode("idna"))
    except UnicodeError:
        print("refused")
print(b"xn--bcher-kva.example".decode("idna"))
"""
    assert daemon(code) == daemon(code, first=real)
    assert "xn--bcher-kva" in daemon(code)


def test_what_is_deferred_works_when_it_is_used_after_all() -> None:
    code = """
import calendar, inspect, locale, pathlib, platform, shutil, tempfile, uuid, agent.clock, agent.jobs.request
print(pathlib.Path('/a b').as_uri(), platform.system(), inspect.getsource(agent.clock.Clock).split()[0])
print(platform.machine() != '', uuid.uuid4().version, calendar.timegm((1970, 1, 2, 0, 0, 0)))
print(locale.getencoding().lower())
shutil.rmtree(tempfile.mkdtemp())
print(agent.jobs.request._is_private(__import__('ipaddress').IPv4Address('10.0.0.1')), inspect.signature(len))
"""
    assert daemon(code).splitlines() == [
        "file:///a%20b Linux @dataclass(frozen=True,",
        "True 4 86400",
        "utf-8",
        "True (obj, /)",
    ]
