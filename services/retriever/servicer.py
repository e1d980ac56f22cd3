"""`corella.v1.RetrieverService`: protobuf in, use case, protobuf out. No decisions here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from corella.v1 import operation_pb2, retriever_pb2, retriever_pb2_grpc
from services.chassis import deadline, identity, page_token
from services.chassis.errors import InvalidArgument
from services.chassis.operations import Operation, OperationNotFound, Operations
from services.chassis.operations_messages import operation_message
from services.retriever import requests, tenancy
from services.retriever.audit import Audit
from services.retriever.chunks import Chunks
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents
from services.retriever.domain import CorpusCounts, DocumentNotFound, DocumentState
from services.retriever.intake import Intake
from services.retriever.messages import chunk_message, corpus_message, document_message, search_message
from services.retriever.names import chunk_name, corpus_id_of, document_name, document_of, is_document_id, operation_id_of
from services.retriever.operations import as_shown
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.redis_locks import translated
from services.retriever.reindexing import Reindexing
from services.retriever.retrieval import Retrieval

_WAIT_MARGIN_SECONDS = 0.5


class RetrieverServicer(retriever_pb2_grpc.RetrieverServiceServicer):
    """Every method of the service."""

    def __init__(
        self,
        *,
        corpora: Corpora,
        documents: Documents,
        chunks: Chunks,
        intake: Intake,
        retrieval: Retrieval,
        reindexing: Reindexing,
        operations: Operations,
        catalog: RedisCatalog,
        audit: Audit,
    ) -> None:
        self._corpora = corpora
        self._documents = documents
        self._chunks = chunks
        self._intake = intake
        self._retrieval = retrieval
        self._reindexing = reindexing
        self._operations = operations
        self._catalog = catalog
        self._audit = audit

    async def CreateCorpus(self, request: retriever_pb2.CreateCorpusRequest, _context: object) -> retriever_pb2.CreateCorpusResponse:
        wish = requests.create_corpus(request)
        corpus = await self._corpora.create(replace(wish, id=_inner(wish.id)), request.request_id)
        return retriever_pb2.CreateCorpusResponse(corpus=corpus_message(corpus, CorpusCounts(0, 0, 0)))

    async def GetCorpus(self, request: retriever_pb2.GetCorpusRequest, _context: object) -> retriever_pb2.GetCorpusResponse:
        corpus, counts = await self._corpora.get(identity.current(), _corpus(request.name, "name"))
        indexes = await self._reindexing.indexes(identity.current(), corpus)
        return retriever_pb2.GetCorpusResponse(corpus=corpus_message(corpus, counts, indexes))

    async def ListCorpora(self, request: retriever_pb2.ListCorporaRequest, _context: object) -> retriever_pb2.ListCorporaResponse:
        caller, bound = identity.current(), ("corpora", identity.current().tenant)
        after = page_token.decode(request.page_token, *bound)
        corpora, position = await self._corpora.list_corpora(caller, page_token.page_size(request.page_size), after)
        token = page_token.encode(position, *bound)
        return retriever_pb2.ListCorporaResponse(corpora=[corpus_message(*entry) for entry in corpora], next_page_token=token)

    async def DeleteCorpus(self, request: retriever_pb2.DeleteCorpusRequest, _context: object) -> retriever_pb2.DeleteCorpusResponse:
        requests.check(requests.request_id(request.request_id))
        await self._corpora.delete(_corpus(request.name, "name"), force=request.force, request_id=request.request_id)
        return retriever_pb2.DeleteCorpusResponse()

    async def ReindexCorpus(self, request: retriever_pb2.ReindexCorpusRequest, _context: object) -> retriever_pb2.ReindexCorpusResponse:
        wish, corpus_id = requests.reindex(request), _corpus(request.name, "name")
        operation = await self._reindexing.reindex(corpus_id, wish, force=request.force, request_id=request.request_id)
        return retriever_pb2.ReindexCorpusResponse(operation=await self._operation(operation))

    async def RollBackCorpus(self, request: retriever_pb2.RollBackCorpusRequest, _context: object) -> retriever_pb2.RollBackCorpusResponse:
        requests.check(requests.request_id(request.request_id))
        corpus_id = _corpus(request.name, "name")
        operation = await self._reindexing.roll_back(corpus_id, force=request.force, request_id=request.request_id)
        return retriever_pb2.RollBackCorpusResponse(operation=await self._operation(operation))

    async def IngestDocuments(
        self, request_iterator: AsyncIterator[retriever_pb2.IngestDocumentsRequest], _context: object
    ) -> retriever_pb2.IngestDocumentsResponse:
        operation = await self._operation(await self._intake.from_stream(identity.current().tenant, request_iterator))
        return retriever_pb2.IngestDocumentsResponse(operation=operation)

    async def ImportDocuments(
        self, request: retriever_pb2.ImportDocumentsRequest, _context: object
    ) -> retriever_pb2.ImportDocumentsResponse:
        operation = await self._operation(await self._intake.from_directory(identity.current().tenant, request))
        return retriever_pb2.ImportDocumentsResponse(operation=operation)

    async def GetDocument(self, request: retriever_pb2.GetDocumentRequest, _context: object) -> retriever_pb2.GetDocumentResponse:
        wanted = _document(request.name)
        document, content = await self._documents.get(identity.current(), *wanted, content=request.include_content)
        return retriever_pb2.GetDocumentResponse(document=document_message(document, content))

    async def ListDocuments(self, request: retriever_pb2.ListDocumentsRequest, _context: object) -> retriever_pb2.ListDocumentsResponse:
        caller, corpus_id, state = identity.current(), _corpus(request.parent, "parent"), _state(request.state)
        bound = (request.parent, str(request.state))
        after = page_token.decode(request.page_token, *bound)
        documents, position, total = await self._documents.list_documents(
            caller, corpus_id, state, page_token.page_size(request.page_size), after
        )
        return retriever_pb2.ListDocumentsResponse(
            documents=[document_message(document) for document in documents],
            next_page_token=page_token.encode(position, *bound),
            total_size=total,
        )

    async def DeleteDocument(self, request: retriever_pb2.DeleteDocumentRequest, _context: object) -> retriever_pb2.DeleteDocumentResponse:
        requests.check(requests.request_id(request.request_id))
        corpus_id, document_id = _inner_document(request.name, "name")
        await self._documents.delete(
            corpus_id, document_id, allow_missing=request.allow_missing, request_id=request.request_id, caller=identity.current()
        )
        return retriever_pb2.DeleteDocumentResponse()

    async def UpdateDocumentAccess(
        self, request: retriever_pb2.UpdateDocumentAccessRequest, _context: object
    ) -> retriever_pb2.UpdateDocumentAccessResponse:
        access, wanted = requests.update_access(request), _document(request.name)
        document = await self._documents.update_access(identity.current(), *wanted, access, request.request_id)
        return retriever_pb2.UpdateDocumentAccessResponse(document=document_message(document))

    async def RetryDocuments(self, request: retriever_pb2.RetryDocumentsRequest, _context: object) -> retriever_pb2.RetryDocumentsResponse:
        corpus_id, ids = requests.retry(request)
        operation = await self._documents.retry(identity.current(), _inner(corpus_id), ids, request.request_id)
        return retriever_pb2.RetryDocumentsResponse(operation=await self._operation(operation))

    async def AuditDocument(self, request: retriever_pb2.AuditDocumentRequest, _context: object) -> retriever_pb2.AuditDocumentResponse:
        corpus_id, document_id = requests.audited(request)
        if not is_document_id(document_id):
            raise DocumentNotFound(request.name)
        traces = await self._audit.traces(_inner(corpus_id), document_id)
        return retriever_pb2.AuditDocumentResponse(
            name=document_name(corpus_id, document_id), traces=[retriever_pb2.Trace(place=place, count=count) for place, count in traces]
        )

    async def Search(self, request: retriever_pb2.SearchRequest, _context: object) -> retriever_pb2.SearchResponse:
        query = requests.query(request)
        return search_message(await self._retrieval.search(replace(query, corpus=_inner(query.corpus)), identity.current()))

    async def ListChunks(self, request: retriever_pb2.ListChunksRequest, _context: object) -> retriever_pb2.ListChunksResponse:
        corpus_id, document_id = _document(request.parent, "parent")
        bound = ("chunks", request.parent)
        first = requests.chunk_position(page_token.decode(request.page_token, *bound))
        found, following = await self._chunks.of_document(
            identity.current(), corpus_id, document_id, page_token.page_size(request.page_size), first
        )
        return retriever_pb2.ListChunksResponse(
            chunks=[chunk_message(corpus_id, chunk) for chunk in found],
            next_page_token="" if following is None else page_token.encode(str(following), *bound),
        )

    async def BatchGetChunks(self, request: retriever_pb2.BatchGetChunksRequest, _context: object) -> retriever_pb2.BatchGetChunksResponse:
        corpus_id, ids = requests.chunk_names(request)
        found = await self._chunks.named(identity.current(), _inner(corpus_id), ids)
        return retriever_pb2.BatchGetChunksResponse(
            chunks=[chunk_message(corpus_id, chunk) for chunk in found.values()],
            missing=[chunk_name(corpus_id, *each) for each in dict.fromkeys(ids) if each not in found],
        )

    async def GetOperation(self, request: retriever_pb2.GetOperationRequest, _context: object) -> retriever_pb2.GetOperationResponse:
        return retriever_pb2.GetOperationResponse(operation=await self._operation(_operation_id(request.name)))

    async def ListOperations(self, request: retriever_pb2.ListOperationsRequest, _context: object) -> retriever_pb2.ListOperationsResponse:
        tenant = identity.current().tenant
        index, bound = f"tenants/{tenant}", ("operations", tenant, request.target)
        if request.target:
            index = f"corpora/{_corpus(request.target, 'target')}"
        after = page_token.decode(request.page_token, *bound)
        async with translated():
            found, position = await self._operations.list_operations(index, page_token.page_size(request.page_size), after)
        token = page_token.encode(position, *bound)
        return retriever_pb2.ListOperationsResponse(operations=[_operation_message(each) for each in found], next_page_token=token)

    async def WaitOperation(self, request: retriever_pb2.WaitOperationRequest, _context: object) -> retriever_pb2.WaitOperationResponse:
        seconds = max(0.0, deadline.remaining(86_400.0) - _WAIT_MARGIN_SECONDS)
        if request.HasField("timeout"):
            seconds = min(seconds, max(0.0, request.timeout.ToTimedelta().total_seconds()))
        exceeds = request.until_done_count_exceeds if request.HasField("until_done_count_exceeds") else None
        operation_id = _operation_id(request.name)
        await self._operation(operation_id)
        async with translated():
            operation = await self._operations.wait(operation_id, seconds, exceeds)
        return retriever_pb2.WaitOperationResponse(operation=_operation_message(operation))

    async def CancelOperation(
        self, request: retriever_pb2.CancelOperationRequest, _context: object
    ) -> retriever_pb2.CancelOperationResponse:
        operation_id = _operation_id(request.name)
        operation = await self._operation(operation_id)
        if operation.kind == operation_pb2.OPERATION_KIND_REINDEX_CORPUS:
            await self._reindexing.cancel(_corpus(operation.target, "name"), operation_id)
        else:
            await self._documents.drop_blobs(await self._catalog.cancel(operation_id))
        return retriever_pb2.CancelOperationResponse(operation=await self._operation(operation_id))

    async def _operation(self, operation_id: str) -> operation_pb2.Operation:
        async with translated():
            operation = await self._operations.get(operation_id)
        if not tenancy.owns(identity.current(), operation.target):
            raise OperationNotFound(operation_id)
        return _operation_message(operation)


def _operation_message(operation: Operation) -> operation_pb2.Operation:
    return operation_message(as_shown(operation, identity.current()))


def _inner(corpus_id: str) -> str:
    return tenancy.inner(identity.current().tenant, corpus_id)


def _corpus(name: str, field: str) -> str:
    return _inner(corpus_id_of(name, field))


def _inner_document(name: str, field: str) -> tuple[str, str]:
    corpus_id, document_id = document_of(name, field)
    return _inner(corpus_id), document_id


def _document(name: str, field: str = "name") -> tuple[str, str]:
    corpus_id, document_id = _inner_document(name, field)
    if not is_document_id(document_id):
        raise DocumentNotFound(name)
    return corpus_id, document_id


def _operation_id(name: str) -> str:
    operation_id = operation_id_of(name)
    if not operation_id:
        raise OperationNotFound(name.partition("/")[2])
    return operation_id


def _state(number: int) -> DocumentState | None:
    names = retriever_pb2.DocumentState.keys()
    known = {retriever_pb2.DocumentState.Value(name): name.removeprefix("DOCUMENT_STATE_") for name in names}
    if number not in known:
        raise InvalidArgument.of([("state", "is not a state of this version")])
    return DocumentState(known[number]) if number else None
