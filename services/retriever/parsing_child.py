"""The process that reads untrusted documents, one after the other.

    python -m services.retriever.parsing_child MEMORY_MIB CPU_SECONDS PROCESS_ID_OF_PARENT

It is started by parsing_sandbox.py and ends with it. It confines itself (confinement.py), says how well that went, and then answers
requests on standard input with replies on standard output; their form is in structured_messages.py. Its environment holds no secret,
and it has nothing open but these two.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import PurePath
from typing import Any, BinaryIO

from services.chassis.parent_death import die_with_parent
from services.retriever import confinement, structured_messages
from services.retriever.structured_messages import LENGTH


def main() -> int:
    """Reads until told that there is no more. Returns the exit status."""
    memory_bytes, cpu_seconds, parent = int(sys.argv[1]) << 20, int(sys.argv[2]), int(sys.argv[3])
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which then ends us
    if os.getppid() != parent:
        return 0
    # What a library prints goes nowhere: it may hold text of a document, and must not come between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    namespace = confinement.leave_network()
    die_with_parent()  # again: a change of credentials may have undone it

    from services.retriever.readers import prepare_readers  # after the network is left: libraries are loaded, some with threads

    prepare_readers()
    memory = confinement.limit(memory_bytes)
    growth = confinement.Growth(memory_bytes)
    seccomp = confinement.refuse_system_calls()
    replies.write(structured_messages.dump({"namespace": namespace, "seccomp": seccomp, "memory": memory}))
    replies.flush()
    try:
        while (header := _frame(requests)) is not None:
            content = _frame(requests)
            if content is None:
                break
            confinement.allow_seconds(cpu_seconds)
            replies.write(_answer(header, content, growth))
            replies.flush()
            del header, content
    except MemoryError:
        # Even saying so takes memory.
        os._exit(structured_messages.NO_MEMORY_STATUS)
    return 0


def _answer(header: bytes, content: bytes, growth: confinement.Growth) -> bytes:
    """The reply, as a frame."""
    answer = _read(structured_messages.load(header), content)
    answer["stale"] = answer.get("stale", False) or growth.too_much()
    return structured_messages.dump(answer)


def _read(request: dict[str, Any], content: bytes) -> dict[str, Any]:
    from services.chassis.errors import InvalidArgument
    from services.retriever.readers import read_document
    from services.retriever.structure import DocumentUnreadable

    try:
        document = read_document(content, request["mime_type"], request["uri"], request["title"])
        return {"document": structured_messages.document_message(document)}
    except InvalidArgument as error:
        return {"error": structured_messages.error_message(error)}
    except MemoryError:
        raise
    except RecursionError:
        nested = DocumentUnreadable("The document is nested too deeply.")
        return {"error": structured_messages.error_message(nested), "stale": True}
    except Exception as error:
        # Where it broke, without the error's own words, which may quote the document.
        places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
        return {"broke": type(error).__name__, "where": places, "stale": True}


def _frame(requests: BinaryIO) -> bytes | None:
    head = requests.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = requests.read(length)
    return content if len(content) == length else None


if __name__ == "__main__":
    sys.exit(main())
