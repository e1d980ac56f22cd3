"""The retriever, over gRPC: searching as answers search, walking through a corpus, and asking which chunks are still there.

Every call has a deadline of its own and is repeated while the retriever is away; see repeating.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from corella.v1 import retriever_pb2 as pb
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub
from services.chassis.channel import Remote
from services.chassis.errors import NotFound
from services.trainer.domain import Passage
from services.trainer.repeating import DEFAULT_SECONDS, Repeating

_MAX_QUERY_CHARACTERS = 4000
_PAGE = 500
_CHUNK = re.compile(r"(corpora/[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?)/documents/[^/]+/chunks/[^/]+")


class GrpcRetriever:
    """Speaks `RetrieverService`. Every method raises the retriever's own error, and `Unavailable` when patience is at its end."""

    def __init__(self, remote: Remote, *, patience_seconds: float = DEFAULT_SECONDS) -> None:
        self._remote = remote
        self._stub = RetrieverServiceStub(remote.channel)
        self._repeating = Repeating(patience_seconds)

    async def search(self, corpus: str, query: str, limit: int) -> tuple[Passage, ...]:
        """The best passages, as `Ask` would find them for a first question."""
        request = pb.SearchRequest(corpus=corpus, query=query[:_MAX_QUERY_CHARACTERS], limit=limit)
        response = await self._call(self._stub.Search, request)
        return tuple(_passage(each) for each in response.passages[:limit])

    async def chunks(self, corpus: str) -> AsyncIterator[Passage]:
        """All chunks of all ACTIVE documents, by document id and then in the document's order."""
        listing = pb.ListDocumentsRequest(parent=corpus, state=pb.DOCUMENT_STATE_ACTIVE, page_size=_PAGE)
        while True:
            page = await self._call(self._stub.ListDocuments, listing)
            for document in page.documents:
                async for passage in self._of_document(document.name):
                    yield passage
            if not page.next_page_token:
                return
            listing.page_token = page.next_page_token

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        """Those of the chunks that are there, by name, in the order of `names`. What is no name of a chunk is not there."""
        by_corpus: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            match = _CHUNK.fullmatch(name)
            if match:
                by_corpus.setdefault(match[1], []).append(name)
        found: dict[str, Passage] = {}
        for corpus, of_corpus in by_corpus.items():
            for start in range(0, len(of_corpus), _PAGE):
                try:
                    request = pb.BatchGetChunksRequest(parent=corpus, names=of_corpus[start : start + _PAGE])
                    response = await self._call(self._stub.BatchGetChunks, request)
                except NotFound as error:
                    if error.reason != "CORPUS_NOT_FOUND":
                        raise
                    break
                found |= {each.name: _passage(each) for each in response.chunks}
        return {name: found[name] for name in dict.fromkeys(names) if name in found}

    async def _of_document(self, document: str) -> AsyncIterator[Passage]:
        request = pb.ListChunksRequest(parent=document, page_size=_PAGE)
        while True:
            try:
                page = await self._call(self._stub.ListChunks, request)
            except NotFound as error:
                # Deleted since its page of the list was read.
                if error.reason != "DOCUMENT_NOT_FOUND":
                    raise
                return
            for each in page.chunks:
                yield _passage(each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _call(self, method: Any, request: Any) -> Any:
        return await self._repeating.run(lambda: self._remote.call(method, request))


def _passage(message: pb.Passage) -> Passage:
    return Passage(message.text, message.title, message.uri, tuple(message.heading_path), message.name)
