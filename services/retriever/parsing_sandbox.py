"""Has untrusted documents read by a child process, so that no document can take more than its share, or the worker down with it.

    read ─ child there? else start it ─ send ─ wait for the reply, at most `wall_seconds` ─ document, or the reason why not

The child lives on from document to document: starting one costs about half a second, a document less than a millisecond
(`python -m bench.reading`). It is replaced when it broke, was stopped at a limit, kept memory, or has read many documents. A document is
blamed for a breakdown only when it broke a child that had read nothing before; else it is tried again in a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import services
from services.chassis.errors import Unavailable
from services.chassis.telemetry import get_logger, meter
from services.retriever import structured_messages
from services.retriever.confinement import Confinement
from services.retriever.settings import ParsingSettings
from services.retriever.structure import DocumentTooCostly, DocumentUnreadable, StructuredDocument

log = get_logger(__name__)

_START_SECONDS = 60.0
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")

_children = meter.create_counter("corella.parsing.children", description="Reading processes ended, by why.")


class _Broken(Exception):
    """The child ended before it replied."""

    def __init__(self, status: int) -> None:
        self.status = status


class ParsingSandbox:
    """Reads documents in a child process, one at a time. Belongs to one event loop."""

    def __init__(self, settings: ParsingSettings) -> None:
        self._settings = settings
        self._child: Process | None = None
        self._read_count = 0
        self._turn = asyncio.Lock()
        self.confinement: Confinement | None = None
        """How well the child that was started last is confined; None before the first."""

    async def prepare(self) -> None:
        """Starts the child ahead of the first document. If that fails, the first document says so."""
        async with self._turn:
            if self._child is None:
                with contextlib.suppress(Unavailable):
                    await self._start()

    async def read(self, content: bytes, mime_type: str, uri: str, title: str = "") -> StructuredDocument:
        """As `readers.read_document`, which raises the same errors; and `DocumentTooCostly`.

        Raises `Unavailable` when there can be no child, or, where the settings ask for it, none without network.
        """
        header = structured_messages.dump({"mime_type": mime_type, "uri": uri, "title": title})
        async with self._turn:
            while True:
                fresh = self._read_count == 0
                try:
                    reply = await self._exchange(header + structured_messages.frame(content))
                except _Broken as broken:
                    log.warning("reader_ended", status=broken.status, fresh=fresh)
                    if fresh or broken.status == -signal.SIGXCPU:
                        raise _cost(broken.status, self._settings) from None
                    continue
                return _outcome(reply)

    async def close(self) -> None:
        """Ends the child. The next document starts another one."""
        child, self._child = self._child, None
        self._read_count = 0
        if child is not None and child.returncode is None:
            child.kill()
            await child.wait()

    async def _exchange(self, request: bytes) -> dict[str, Any]:
        if self._child is None or self._child.returncode is not None:
            await self._start()
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        self._read_count += 1
        try:
            async with asyncio.timeout(self._settings.wall_seconds):
                try:
                    child.stdin.write(request)
                    await child.stdin.drain()
                    reply = structured_messages.load(await _frame(child.stdout))
                except (OSError, EOFError):
                    # It may have closed its end without ending.
                    await self._end("broke", wait_seconds=1.0)
                    raise _Broken(child.returncode or 0) from None
        except TimeoutError:
            await self._end("hung")
            raise DocumentTooCostly(_too_long(f"{self._settings.wall_seconds:g} seconds")) from None
        except ValueError:
            await self._end("babbled")
            raise _broke("made it talk nonsense") from None
        except asyncio.CancelledError:
            await asyncio.shield(self._end("cancelled"))
            raise
        if reply.get("stale") or self._read_count >= self._settings.documents_per_child:
            await self._end("replaced")
        return reply

    async def _start(self) -> None:
        settings = self._settings
        command = [
            sys.executable, "-P", "-m", "services.retriever.parsing_child",
            str(settings.memory_mib), str(settings.cpu_seconds), str(os.getpid()),
        ]  # fmt: skip
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment |= {"PYTHONPATH": str(Path(services.__file__).parents[1]), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self._read_count = 0
        try:
            # What it says before it goes silent, such as why it cannot start, goes to our stderr. It has a session of its own: a signal to
            # the worker's group must not end a reader in the middle of a document.
            self._child = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, env=environment, cwd="/", start_new_session=True
            )
            assert self._child.stdout is not None
            async with asyncio.timeout(_START_SECONDS):
                told = structured_messages.load(await _frame(self._child.stdout))
            confinement = Confinement(bool(told["namespace"]), bool(told["seccomp"]), bool(told["memory"]))
        except (OSError, EOFError, ValueError, KeyError, TimeoutError) as exc:
            await self.close()
            raise Unavailable("The process that reads documents could not be started.", reason="READER_NOT_STARTED") from exc
        if confinement != self.confinement:
            say = log.info if confinement.without_network and confinement.memory else log.warning
            say("reader_confined", namespace=confinement.namespace, seccomp=confinement.seccomp, memory=confinement.memory)
            self.confinement = confinement
        if settings.require_no_network and not confinement.without_network:
            await self.close()
            text = "Documents are not read: the reading process cannot be cut off from the network here. See docs/documents.md."
            raise Unavailable(text, reason="READER_NOT_CONFINED", retry_after_seconds=60.0)

    async def _end(self, why: str, wait_seconds: float = 0.0) -> None:
        _children.add(1, {"corella.parsing.end": why})
        child, self._child = self._child, None
        self._read_count = 0
        if child is None:
            return
        if child.returncode is None and wait_seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), wait_seconds)
        if child.returncode is None:
            child.kill()
        await child.wait()


def _broke(how: str) -> DocumentTooCostly:
    text = (
        f"The document broke the process that read it ({how}). Damaged and malicious documents do that, and such as need more memory than "
        "one document may take."
    )
    return DocumentTooCostly(text, reason="DOCUMENT_BREAKS_ITS_READER")


def _too_long(time: str) -> str:
    return f"Reading the document took more than {time}, which is the most that one document may take."


def _cost(status: int, settings: ParsingSettings) -> DocumentTooCostly:
    """Why a child ended, by its exit status; below 0 it is the signal."""
    if status == -signal.SIGXCPU:
        return DocumentTooCostly(_too_long(f"{settings.cpu_seconds} seconds of processor time"))
    if status == structured_messages.NO_MEMORY_STATUS:
        text = f"Reading the document took more than {settings.memory_mib:,} MiB of memory, which is the most that one document may take."
        return DocumentTooCostly(text, reason="DOCUMENT_TAKES_TOO_MUCH_MEMORY")
    if status == -signal.SIGKILL:
        text = "Reading the document was ended by the system, most likely because there was too little memory."
        return DocumentTooCostly(text, reason="DOCUMENT_TAKES_TOO_MUCH_MEMORY")
    return _broke(f"ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}")


def _outcome(reply: dict[str, Any]) -> StructuredDocument:
    try:
        if "error" in reply:
            raise structured_messages.error_of(reply["error"])
        if "broke" in reply:
            log.error("reader_broke", error=str(reply["broke"])[:80], where=str(reply.get("where"))[:400])
            name = str(reply["broke"])[:80]
            raise DocumentUnreadable(
                f"The document could not be read: the reader failed with {name if name.isidentifier() else 'an error'}."
            )
        return structured_messages.document_of(reply.get("document"))
    except ValueError:
        raise _broke("made it talk nonsense") from None


async def _frame(replies: asyncio.StreamReader) -> bytes:
    (length,) = structured_messages.LENGTH.unpack(await replies.readexactly(structured_messages.LENGTH.size))
    if length > structured_messages.MAX_FRAME_BYTES:
        raise ValueError("a reply of that size is none of ours")
    return await replies.readexactly(length)
