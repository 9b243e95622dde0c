"""The way to central: an operator's channel, and refusals turned into one line."""

import argparse
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from cryptography import x509
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from central.cli.errors import CliError
from central.home import Home
from central.names import BadNameError, parse_node, server_name
from central.refusal import DETAILS_KEY, reason_of
from storeedge.v1.operator_pb2 import CallNodeRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.types_pb2 import NodeRef

Reply = TypeVar("Reply", bound=Message)

TIMEOUT_SECONDS = 30
_MAX_ANSWER_BYTES = 16 << 20


def node_ref(text: str) -> NodeRef:
    """Raises CliError."""
    try:
        name = parse_node(text)
    except BadNameError as error:
        raise CliError(str(error)) from error
    return NodeRef(store=name.store, node=name.node)


def ref_text(ref: NodeRef) -> str:
    return f"{ref.store}/{ref.node}"


@contextmanager
def operator(arguments: argparse.Namespace) -> Generator[OperatorStub]:
    """Central's Operator within the block. Raises CliError for whatever goes wrong with it."""
    where = Home(arguments.dir)
    try:
        key, chain = where.operator_key.read_bytes(), where.operator_chain.read_bytes()
        root = where.operator_root.read_bytes()
        central = arguments.central or where.address.read_text().strip()
        name = domain(root)
    except (OSError, ValueError) as error:
        raise CliError(f"no operator's certificate in {where.directory} ({error}): run edgectl init") from error
    options = [
        ("grpc.ssl_target_name_override", server_name(name)),
        ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
        ("grpc.enable_retries", 0),
    ]
    try:
        with grpc.secure_channel(central, grpc.ssl_channel_credentials(root, key, chain), options) as channel:
            yield OperatorStub(channel)
    except grpc.RpcError as error:
        raise CliError(explain(error, central)) from error


def domain(root_pem: bytes) -> str:
    """The trust domain that a root certificate names."""
    names = x509.load_pem_x509_certificate(root_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)[0].removeprefix("spiffe://")


def explain(error: grpc.RpcError, central: str) -> str:
    """One line: what central answered with its reason, or that it didn't."""
    call: Any = error  # whatever grpc raises here is a grpc.Call too, which its types can't say
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            status = Status.FromString(value)
            return f"{status.message} ({reason_of(status)})"
    return f"central at {central}: {call.code().name}, {call.details()}"


def call(
    stub: OperatorStub,
    node: NodeRef,
    method: str,
    request: Message,
    reply: type[Reply],
    deadline_milli: int = TIMEOUT_SECONDS * 1000,
) -> Iterator[Reply]:
    """AgentService.<method> of a node, through central."""
    question = CallNodeRequest(
        node=node, method=method, payload=request.SerializeToString(), deadline_milli=deadline_milli
    )
    # A little longer than the node's own deadline, which has the better reason.
    for answer in stub.CallNode(question, timeout=deadline_milli / 1000 + 5):
        yield reply.FromString(answer.payload)


def ask(
    stub: OperatorStub,
    node: NodeRef,
    method: str,
    request: Message,
    reply: type[Reply],
    deadline_milli: int = TIMEOUT_SECONDS * 1000,
) -> Reply:
    """The one answer of a unary method. Raises CliError when there is none."""
    # To its end, not only to the first answer: who stops reading cancels the call, and is audited as one who left.
    answers = list(call(stub, node, method, request, reply, deadline_milli))
    if not answers:
        raise CliError(f"{ref_text(node)} answered {method} with nothing")
    return answers[0]
