"""`corella.v1.RetrieverService`: protobuf in, use case, protobuf out. No decisions here."""

from __future__ import annotations

from collections.abc import AsyncIterator

from corella.v1 import operation_pb2, retriever_pb2, retriever_pb2_grpc
from services.chassis import deadline, page_token
from services.chassis.errors import InvalidArgument
from services.chassis.operations import OperationNotFound, Operations
from services.chassis.operations_messages import operation_message
from services.retriever import requests
from services.retriever.chunks import Chunks
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents
from services.retriever.domain import CorpusCounts, DocumentNotFound, DocumentState
from services.retriever.intake import Intake
from services.retriever.messages import chunk_message, corpus_message, document_message, search_message
from services.retriever.names import chunk_name, corpus_id_of, document_of, is_document_id, operation_id_of
from services.retriever.redis_catalog import RedisCatalog
from services.retriever.redis_locks import translated
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
        operations: Operations,
        catalog: RedisCatalog,
    ) -> None:
        self._corpora = corpora
        self._documents = documents
        self._chunks = chunks
        self._intake = intake
        self._retrieval = retrieval
        self._operations = operations
        self._catalog = catalog

    async def CreateCorpus(self, request: retriever_pb2.CreateCorpusRequest, _context: object) -> retriever_pb2.CreateCorpusResponse:
        corpus = await self._corpora.create(requests.create_corpus(request), request.request_id)
        return retriever_pb2.CreateCorpusResponse(corpus=corpus_message(corpus, CorpusCounts(0, 0, 0)))

    async def GetCorpus(self, request: retriever_pb2.GetCorpusRequest, _context: object) -> retriever_pb2.GetCorpusResponse:
        corpus, counts = await self._corpora.get(corpus_id_of(request.name, "name"))
        return retriever_pb2.GetCorpusResponse(corpus=corpus_message(corpus, counts))

    async def ListCorpora(self, request: retriever_pb2.ListCorporaRequest, _context: object) -> retriever_pb2.ListCorporaResponse:
        after = page_token.decode(request.page_token, "corpora")
        corpora, position = await self._corpora.list_corpora(page_token.page_size(request.page_size), after)
        token = page_token.encode(position, "corpora")
        return retriever_pb2.ListCorporaResponse(corpora=[corpus_message(*entry) for entry in corpora], next_page_token=token)

    async def DeleteCorpus(self, request: retriever_pb2.DeleteCorpusRequest, _context: object) -> retriever_pb2.DeleteCorpusResponse:
        requests.check(requests.request_id(request.request_id))
        await self._corpora.delete(corpus_id_of(request.name, "name"), force=request.force, request_id=request.request_id)
        return retriever_pb2.DeleteCorpusResponse()

    async def IngestDocuments(
        self, request_iterator: AsyncIterator[retriever_pb2.IngestDocumentsRequest], _context: object
    ) -> retriever_pb2.IngestDocumentsResponse:
        operation = await self._operation(await self._intake.from_stream(request_iterator))
        return retriever_pb2.IngestDocumentsResponse(operation=operation)

    async def ImportDocuments(
        self, request: retriever_pb2.ImportDocumentsRequest, _context: object
    ) -> retriever_pb2.ImportDocumentsResponse:
        operation = await self._operation(await self._intake.from_directory(request))
        return retriever_pb2.ImportDocumentsResponse(operation=operation)

    async def GetDocument(self, request: retriever_pb2.GetDocumentRequest, _context: object) -> retriever_pb2.GetDocumentResponse:
        document = await self._documents.get(*_document(request.name))
        content = await self._documents.content(document) if request.include_content else b""
        return retriever_pb2.GetDocumentResponse(document=document_message(document, content))

    async def ListDocuments(self, request: retriever_pb2.ListDocumentsRequest, _context: object) -> retriever_pb2.ListDocumentsResponse:
        corpus_id, state = corpus_id_of(request.parent, "parent"), _state(request.state)
        bound = (request.parent, str(request.state))
        after = page_token.decode(request.page_token, *bound)
        documents, position, total = await self._documents.list_documents(corpus_id, state, page_token.page_size(request.page_size), after)
        return retriever_pb2.ListDocumentsResponse(
            documents=[document_message(document) for document in documents],
            next_page_token=page_token.encode(position, *bound),
            total_size=total,
        )

    async def DeleteDocument(self, request: retriever_pb2.DeleteDocumentRequest, _context: object) -> retriever_pb2.DeleteDocumentResponse:
        requests.check(requests.request_id(request.request_id))
        corpus_id, document_id = document_of(request.name, "name")
        await self._documents.delete(corpus_id, document_id, allow_missing=request.allow_missing, request_id=request.request_id)
        return retriever_pb2.DeleteDocumentResponse()

    async def Search(self, request: retriever_pb2.SearchRequest, _context: object) -> retriever_pb2.SearchResponse:
        return search_message(await self._retrieval.search(requests.query(request)))

    async def ListChunks(self, request: retriever_pb2.ListChunksRequest, _context: object) -> retriever_pb2.ListChunksResponse:
        corpus_id, document_id = _document(request.parent, "parent")
        bound = ("chunks", request.parent)
        first = requests.chunk_position(page_token.decode(request.page_token, *bound))
        found, following = await self._chunks.of_document(corpus_id, document_id, page_token.page_size(request.page_size), first)
        return retriever_pb2.ListChunksResponse(
            chunks=[chunk_message(corpus_id, chunk) for chunk in found],
            next_page_token="" if following is None else page_token.encode(str(following), *bound),
        )

    async def BatchGetChunks(self, request: retriever_pb2.BatchGetChunksRequest, _context: object) -> retriever_pb2.BatchGetChunksResponse:
        corpus_id, ids = requests.chunk_names(request)
        found = await self._chunks.named(corpus_id, ids)
        return retriever_pb2.BatchGetChunksResponse(
            chunks=[chunk_message(corpus_id, chunk) for chunk in found.values()],
            missing=[chunk_name(corpus_id, *each) for each in dict.fromkeys(ids) if each not in found],
        )

    async def GetOperation(self, request: retriever_pb2.GetOperationRequest, _context: object) -> retriever_pb2.GetOperationResponse:
        return retriever_pb2.GetOperationResponse(operation=await self._operation(_operation_id(request.name)))

    async def ListOperations(self, request: retriever_pb2.ListOperationsRequest, _context: object) -> retriever_pb2.ListOperationsResponse:
        if request.target:
            corpus_id_of(request.target, "target")
        after = page_token.decode(request.page_token, request.target)
        async with translated():
            found, position = await self._operations.list_operations(request.target, page_token.page_size(request.page_size), after)
        token = page_token.encode(position, request.target)
        return retriever_pb2.ListOperationsResponse(operations=[operation_message(each) for each in found], next_page_token=token)

    async def WaitOperation(self, request: retriever_pb2.WaitOperationRequest, _context: object) -> retriever_pb2.WaitOperationResponse:
        seconds = max(0.0, deadline.remaining(86_400.0) - _WAIT_MARGIN_SECONDS)
        if request.HasField("timeout"):
            seconds = min(seconds, max(0.0, request.timeout.ToTimedelta().total_seconds()))
        exceeds = request.until_done_count_exceeds if request.HasField("until_done_count_exceeds") else None
        async with translated():
            operation = await self._operations.wait(_operation_id(request.name), seconds, exceeds)
        return retriever_pb2.WaitOperationResponse(operation=operation_message(operation))

    async def CancelOperation(
        self, request: retriever_pb2.CancelOperationRequest, _context: object
    ) -> retriever_pb2.CancelOperationResponse:
        operation_id = _operation_id(request.name)
        await self._operation(operation_id)
        await self._documents.drop_blobs(await self._catalog.cancel(operation_id))
        return retriever_pb2.CancelOperationResponse(operation=await self._operation(operation_id))

    async def _operation(self, operation_id: str) -> operation_pb2.Operation:
        async with translated():
            return operation_message(await self._operations.get(operation_id))


def _document(name: str, field: str = "name") -> tuple[str, str]:
    corpus_id, document_id = document_of(name, field)
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
