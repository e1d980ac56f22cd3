"""`corella.v1.SourceService`: protobuf in, use case, protobuf out. No decisions here."""

from __future__ import annotations

from corella.v1 import source_pb2, source_pb2_grpc
from services.chassis import identity, page_token
from services.chassis.operations import Operations
from services.chassis.operations_messages import operation_message
from services.retriever import requests, source_requests
from services.retriever.names import corpus_id_of
from services.retriever.operations import as_shown
from services.retriever.redis_locks import translated
from services.retriever.source_messages import source_message
from services.retriever.sources import Sources
from services.retriever.tenancy import inner


class SourceServicer(source_pb2_grpc.SourceServiceServicer):
    """Every method of the service."""

    def __init__(self, sources: Sources, operations: Operations) -> None:
        self._sources = sources
        self._operations = operations

    async def CreateSource(self, request: source_pb2.CreateSourceRequest, _context: object) -> source_pb2.CreateSourceResponse:
        spec = source_requests.create_source(request)
        corpus = _corpus(request.parent)
        created = await self._sources.create(corpus, request.source_id, spec, paused=request.paused, request_id=request.request_id)
        return source_pb2.CreateSourceResponse(source=source_message(created))

    async def GetSource(self, request: source_pb2.GetSourceRequest, _context: object) -> source_pb2.GetSourceResponse:
        return source_pb2.GetSourceResponse(source=source_message(await self._sources.get(*_source(request.name))))

    async def ListSources(self, request: source_pb2.ListSourcesRequest, _context: object) -> source_pb2.ListSourcesResponse:
        corpus = _corpus(request.parent)
        bound = ("sources", corpus)
        after = page_token.decode(request.page_token, *bound)
        found, position = await self._sources.list_sources(corpus, page_token.page_size(request.page_size), after)
        token = page_token.encode(position, *bound)
        return source_pb2.ListSourcesResponse(sources=[source_message(source) for source in found], next_page_token=token)

    async def UpdateSource(self, request: source_pb2.UpdateSourceRequest, _context: object) -> source_pb2.UpdateSourceResponse:
        spec, fields = source_requests.update_source(request)
        corpus, source = _source(request.source.name, "source.name")
        updated = await self._sources.update(corpus, source, spec, fields, request.request_id)
        return source_pb2.UpdateSourceResponse(source=source_message(updated))

    async def DeleteSource(self, request: source_pb2.DeleteSourceRequest, _context: object) -> source_pb2.DeleteSourceResponse:
        requests.check(requests.request_id(request.request_id))
        corpus, source = _source(request.name)
        deleted = await self._sources.delete(corpus, source, documents=request.delete_documents, request_id=request.request_id)
        return source_pb2.DeleteSourceResponse(deleted_document_count=deleted)

    async def SyncSource(self, request: source_pb2.SyncSourceRequest, _context: object) -> source_pb2.SyncSourceResponse:
        corpus, source = _source(request.name)
        operation_id = await self._sources.sync(corpus, source, full=request.full, confirm=request.confirm_removals)
        async with translated():
            operation = await self._operations.get(operation_id)
        return source_pb2.SyncSourceResponse(operation=operation_message(as_shown(operation, identity.current())))

    async def PauseSource(self, request: source_pb2.PauseSourceRequest, _context: object) -> source_pb2.PauseSourceResponse:
        return source_pb2.PauseSourceResponse(source=source_message(await self._sources.pause(*_source(request.name))))

    async def ResumeSource(self, request: source_pb2.ResumeSourceRequest, _context: object) -> source_pb2.ResumeSourceResponse:
        return source_pb2.ResumeSourceResponse(source=source_message(await self._sources.resume(*_source(request.name))))


def _corpus(parent: str) -> str:
    return inner(identity.current().tenant, corpus_id_of(parent, "parent"))


def _source(name: str, field: str = "name") -> tuple[str, str]:
    corpus, source = source_requests.source_of(name, field)
    return inner(identity.current().tenant, corpus), source
