"""Modules that libraries import for features this program doesn't use: loaded when one of them is first used.

docs/decisions/0015-footprint.md says what each costs.
"""

import importlib
import sys
import threading
import types
import typing
from collections.abc import Mapping
from typing import Any

_LOCK = threading.Lock()


def defer(name: str, known: Mapping[str, Any] | None = None) -> None:
    """Let `import name` give a stand-in, which loads the real module once an attribute beyond `known` is asked for.

    Not importlib.util.LazyLoader: on Python 3.11 a second `import a.b` is enough to load its modules.
    Call it before anything imports `name`; a module that is already there stays.
    """
    if name in sys.modules:
        return
    attributes: Mapping[str, Any] = known or {}
    stand_in = types.ModuleType(name)

    def find(attribute: str) -> Any:  # module-level __getattr__, PEP 562
        if attribute in attributes:
            return attributes[attribute]
        if attribute.startswith("__"):
            raise AttributeError(attribute)  # inspect and pickle look into every module; that is no use of it
        with _LOCK:  # of two threads one removes it, and neither what the other then loads
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    vars(stand_in)["__getattr__"] = find
    sys.modules[name] = stand_in
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), child, stand_in)


def defer_unused() -> None:
    """What the agent's libraries import and the agent never uses, as long as it costs a third of a megabyte or more."""
    defer("urllib.request")  # paho, to find a proxy, which needs PySocks too; brings http.client and email
    defer("google.protobuf.internal.python_message")  # protobuf without its C code; brings text_format and decoders
    defer("typing_extensions", {"Self": typing.Self})  # grpc, in annotations
