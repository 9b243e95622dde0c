"""Modules that libraries import for features this program doesn't use: loaded when one of them is first used.

docs/decisions/0015-footprint.md says what each costs.
"""

import codecs
import importlib
import os
import sys
import threading
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

_LOCK = threading.Lock()


def defer(name: str, known: Mapping[str, Any] | None = None, functions: Collection[str] = ()) -> None:
    """Let `import name` give a stand-in, which loads the real module once an attribute beyond `known` is asked for.

    `functions` may be imported by name (`from name import function`): the module is loaded when one is called.
    Not importlib.util.LazyLoader: on Python 3.11 a second `import a.b` is enough to load its modules.
    Call it before anything imports `name`; a module that is already there stays.
    """
    if name in sys.modules:
        return
    attributes: Mapping[str, Any] = known or {}
    stand_in = types.ModuleType(name)

    def load(attribute: str) -> Any:
        with _LOCK:  # of two threads one removes it, and neither what the other then loads
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    def find(attribute: str) -> Any:  # module-level __getattr__, PEP 562
        if attribute in attributes:
            return attributes[attribute]
        if attribute in functions:
            return _late(attribute, load)
        if attribute.startswith("__"):
            raise AttributeError(attribute)  # inspect and pickle look into every module; that is no use of it
        return load(attribute)

    vars(stand_in)["__getattr__"] = find
    sys.modules[name] = stand_in
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), child, stand_in)


def _late(function: str, load: Callable[[str], Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        return load(function)(*args, **named)

    return call


class _NodeVisitor:
    """What inspect derives a class from when it is imported; its getsource() alone uses it, and ast before it."""

    def __getattr__(self, name: str) -> Any:
        return types.MethodType(getattr(importlib.import_module("ast").NodeVisitor, name), self)


def _system() -> str:
    return os.uname().sysname


def _encode_name(text: str, errors: str = "strict") -> tuple[bytes, int]:
    """As the codec idna does it, which needs its tables only for what is not ASCII (or no name at all)."""
    if text.isascii() and all(0 < len(label) < 64 for label in text.removesuffix(".").split(".")):
        return text.encode(), len(text)
    encoded: tuple[bytes, int] = importlib.import_module("encodings.idna").Codec().encode(text, errors)
    return encoded


def _decode_name(data: Any, errors: str = "strict") -> tuple[str, int]:
    decoded: tuple[str, int] = importlib.import_module("encodings.idna").Codec().decode(data, errors)
    return decoded


def _names_codec() -> codecs.CodecInfo:
    return codecs.CodecInfo(_encode_name, _decode_name, name="idna")


def defer_unused() -> None:
    """What the agent's libraries import and an idle agent never uses. Before anything imports pathlib, too."""
    defer("urllib.request")  # paho, to find a proxy, which needs PySocks too; brings http.client and email
    defer("google.protobuf.internal.python_message")  # protobuf without its C code; brings text_format and decoders
    defer("typing_extensions", {"Self": typing.Self})  # grpc, in annotations
    defer("ast", {"NodeVisitor": _NodeVisitor})  # inspect, to find the source of a class
    defer_common()
    defer("uuid")  # paho, for clients without a name
    defer("platform", {"system": _system})  # paho: is this Windows?
    defer("tempfile")  # identity.store, at an enrolment or a renewal
    defer("calendar")  # protobuf, for timestamps out of datetimes
    # socket and ssl, for each host name; brings unicodedata. encodings asks a codec's module for these two.
    defer("encodings.idna", {"getregentry": _names_codec, "getaliases": tuple})
    defer("locale")  # subprocess, for text
    defer("ipaddress")  # jobs.request, for jobs with a network
    defer("pkgutil")  # grpc, for the certificates of public servers


def defer_common() -> None:
    """Of agent and launcher both."""
    defer("urllib.parse", functions=("quote_from_bytes",))  # pathlib, for as_uri(); brings ipaddress
    defer("traceback", functions=("extract_stack",))  # asyncio, logging, the launcher's server: after a bug of ours
    defer("shutil")  # to remove what is left of images and identities; brings bz2 and lzma
