"""A word of the broker's access control."""

from dataclasses import dataclass
from enum import StrEnum


class AclKind(StrEnum):
    """As the broker's dynamic-security plugin calls them."""

    SEND = "publishClientSend"
    RECEIVE = "publishClientReceive"
    SUBSCRIBE = "subscribePattern"  # of a subscription that lies inside `topic`


@dataclass(frozen=True, slots=True)
class Acl:
    """The first that matches decides, the highest priority first; what none matches is denied."""

    kind: AclKind
    topic: str
    allow: bool = True
    priority: int = 0
