"""What an account becomes by an order, and which orders are refused. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.errors import RefusedError
from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account
from agent.mqtt.topics import is_device_id
from agent.orders import DeviceOrder, NewCredential

MAX_ORDERS = 256  # of one call: their certificates take a child process about a second on a small board
MAX_ACCOUNTS = 50_000
DEFAULT_DAYS = 730
_MAX_DAYS = 3650
_MAX_SILENT_SECONDS = 31_536_000
_MAX_CSR_BYTES = 4096
_WORD = re.compile(r"[A-Za-z0-9_.-]{0,64}")


def judge(orders: Sequence[DeviceOrder], known: Mapping[str, Account]) -> None:
    """Raises RefusedError that names the device and what it takes; then none of the orders may be carried out."""
    if not 1 <= len(orders) <= MAX_ORDERS:
        raise RefusedError("BAD_REQUEST", f"{len(orders)} devices at once: 1 to {MAX_ORDERS} can be")
    names = [order.device for order in orders]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RefusedError("BAD_REQUEST", f"{twice}: named twice")
    for order in orders:
        if (flaw := _flaw(order, known.get(order.device))) is not None:
            raise RefusedError("BAD_REQUEST", f"{order.device[:64]}: {flaw}")
    if len(known.keys() | set(names)) > MAX_ACCOUNTS:
        raise RefusedError("NO_ROOM", f"a store has at most {MAX_ACCOUNTS} devices")


def is_reserved(device: str) -> bool:
    """Names of the agent's own users at the broker; and `ca`, whose files would be those of the CA."""
    return device.startswith("edge-agent") or device in ("store", "ca")


def registered(order: DeviceOrder, known: Account | None, now_unix_nano: int) -> Account:
    """The account with what the order says of the device; its credential is as it was."""
    account = known or Account(order.device, created_unix_nano=now_unix_nano)
    account = replace(
        account,
        zone=account.zone if order.zone is None else order.zone,
        device_class=account.device_class if order.device_class is None else order.device_class,
        protocol=account.protocol if order.protocol is None else order.protocol,
        group=account.group if order.group is None else order.group,
        silent_after_seconds=(
            account.silent_after_seconds if order.silent_after_seconds is None else order.silent_after_seconds
        ),
    )
    return account if account.protocol is DeviceProtocol.SPARKPLUG else replace(account, group="")


def wants_certificate(order: DeviceOrder) -> bool:
    return order.credential in (NewCredential.CSR, NewCredential.KEY)


def wants_generation(order: DeviceOrder, known: Account | None) -> bool:
    """Whether the device gets a password it never had."""
    has_one = known is not None and known.credential is Credential.PASSWORD
    return order.credential is NewCredential.PASSWORD and not (order.keep and has_one)


def _flaw(order: DeviceOrder, known: Account | None) -> str | None:
    if not is_device_id(order.device):
        return "a device's id is 1 to 64 characters of A-Z a-z 0-9 _ . -"
    if is_reserved(order.device):
        return "this name is the agent's own"
    for field, text in (("zone", order.zone), ("class", order.device_class), ("group", order.group)):
        if text is not None and not _WORD.fullmatch(text):
            return f"{field}: at most 64 characters of A-Z a-z 0-9 _ . -"
    if (order.silent_after_seconds or 0) > _MAX_SILENT_SECONDS:
        return f"silent_after_seconds: at most {_MAX_SILENT_SECONDS}"
    if order.days > _MAX_DAYS:
        return f"days: at most {_MAX_DAYS}"
    if order.credential is NewCredential.CSR and not 0 < len(order.csr_der) <= _MAX_CSR_BYTES:
        return f"csr: 1 to {_MAX_CSR_BYTES} bytes of DER"
    after = registered(order, known, 0)
    if after.protocol is DeviceProtocol.SPARKPLUG and not after.group:
        return "group: a Sparkplug node needs one"
    if order.group and after.protocol is not DeviceProtocol.SPARKPLUG:
        return "group: only a Sparkplug node has one"
    return None
