"""What the generator remembers of documents: having it forgotten, and counted. The generator may be away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corella.v1 import retriever_pb2


def forget(stub: Any, names: Sequence[str]) -> tuple[dict[str, int], str]:
    """Has what stems from deleted documents forgotten: entries by place, and why it could not be done (empty: it was)."""
    import grpc

    from corella.cli.failures import describe
    from corella.v1 import generator_pb2

    forgotten: dict[str, int] = {}
    try:
        for name in names:
            for trace in stub.ForgetDocument(generator_pb2.ForgetDocumentRequest(name=name)).traces:
                forgotten[trace.place] = forgotten.get(trace.place, 0) + trace.count
    except grpc.RpcError as error:
        return forgotten, str(describe(error)["message"])
    return forgotten, ""


def traces(stub: Any, name: str) -> tuple[list[retriever_pb2.Trace], str]:
    """What is left of a document, place by place, and why that could not be asked (empty: it was)."""
    import grpc

    from corella.cli.failures import describe
    from corella.v1 import generator_pb2

    try:
        return list(stub.AuditDocument(generator_pb2.GeneratorServiceAuditDocumentRequest(name=name)).traces), ""
    except grpc.RpcError as error:
        return [], str(describe(error)["message"])
