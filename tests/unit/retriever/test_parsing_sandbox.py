"""Documents are read in a child process that has no network, little memory and little time, and that is replaced when it breaks."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.errors import Unavailable
from services.retriever import confinement, parsing_sandbox, structured_messages
from services.retriever.parsing_sandbox import ParsingSandbox
from services.retriever.readers import read_document
from services.retriever.settings import ParsingSettings
from services.retriever.structure import (
    DocumentHasNoText,
    DocumentTooCostly,
    DocumentTypeUnsupported,
    DocumentUnreadable,
    Items,
    Rows,
    Section,
    StructuredDocument,
    Table,
)

ROOT = Path(__file__).parents[3]
PAGE = b"# Title\n\ntext\n\n- a\n- b\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n"
LONG = b"- item *a* **b** [c](d) `e`\n" * 95_000
"""Takes several seconds to read."""


@pytest.fixture
async def sandbox() -> AsyncIterator[ParsingSandbox]:
    made = ParsingSandbox(ParsingSettings())
    yield made
    await made.close()


async def test_what_comes_back_is_what_reading_in_this_process_gives(sandbox: ParsingSandbox) -> None:
    for page in [PAGE, "# Ä\n\n\U0001f600 ü".encode(), (ROOT / "README.md").read_bytes()]:
        here, there = read_document(page, "text/markdown", "a.md"), await sandbox.read(page, "text/markdown", "a.md")
        assert here == there
        assert [type(block) for each in here.sections for block in each.blocks] == [type(b) for each in there.sections for b in each.blocks]
    assert (await sandbox.read(PAGE, "", "https://h/a.md", "Given")).title == "Given"


async def test_a_child_can_be_started_ahead_of_the_first_document(sandbox: ParsingSandbox) -> None:
    await sandbox.prepare()
    child = sandbox._child
    assert child is not None
    await sandbox.prepare()
    await sandbox.read(PAGE, "", "a.md")
    assert sandbox._child is child


async def test_errors_of_readers_come_back_as_they_are(sandbox: ParsingSandbox) -> None:
    with pytest.raises(DocumentHasNoText) as empty:
        await sandbox.read(b"", "text/markdown", "a.md")
    assert empty.value.reason == "DOCUMENT_HAS_NO_TEXT"
    with pytest.raises(DocumentTypeUnsupported, match="image/png"):
        await sandbox.read(b"x", "image/png", "a.png")
    with pytest.raises(DocumentUnreadable) as ticket:
        await sandbox.read(b'{"key": 1}', "", "a.json")
    assert dict(ticket.value.violations) == {"key": "must be a string", "summary": "must be a string"}


async def test_one_child_reads_many_documents_until_its_time_is_over() -> None:
    sandbox = ParsingSandbox(ParsingSettings(documents_per_child=3))
    children = []
    for _ in range(5):
        await sandbox.read(PAGE, "", "a.md")
        children.append(sandbox._child and sandbox._child.pid)
    await sandbox.close()
    assert children[0] == children[1] is not None
    assert children[2] is None
    assert children[3] == children[4] not in (None, children[0])


async def test_too_much_processor_time_ends_the_document_and_not_the_next_one() -> None:
    sandbox = ParsingSandbox(ParsingSettings(cpu_seconds=1))
    with pytest.raises(DocumentTooCostly, match="1 seconds of processor time") as caught:
        await sandbox.read(LONG, "", "a.md")
    assert caught.value.reason == "DOCUMENT_TAKES_TOO_LONG"
    assert (await sandbox.read(PAGE, "", "a.md")).title == "Title"
    await sandbox.close()


async def test_time_of_earlier_documents_does_not_count() -> None:
    sandbox = ParsingSandbox(ParsingSettings(cpu_seconds=1))
    ends_at = time.monotonic() + 60
    while True:
        await sandbox.read(LONG[: 28 * 4_000], "", "a.md")
        assert sandbox._child is not None
        used = sum(map(int, Path(f"/proc/{sandbox._child.pid}/stat").read_text().split()[13:15])) / os.sysconf("SC_CLK_TCK")
        if used > 2.2 or time.monotonic() > ends_at:
            break
    await sandbox.close()


async def test_a_child_that_hangs_is_ended() -> None:
    sandbox = ParsingSandbox(ParsingSettings(wall_seconds=3.0))
    await sandbox.read(PAGE, "", "a.md")
    child = sandbox._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(DocumentTooCostly, match="more than 3 seconds") as caught:
        await sandbox.read(PAGE, "", "a.md")
    assert caught.value.reason == "DOCUMENT_TAKES_TOO_LONG"
    assert child.returncode == -signal.SIGKILL
    await sandbox.close()


async def test_too_much_memory_ends_the_document_and_not_the_next_one() -> None:
    sandbox = ParsingSandbox(ParsingSettings(memory_mib=64))
    with pytest.raises(DocumentTooCostly, match="more than 64 MiB of memory") as caught:
        await sandbox.read(LONG, "", "a.md")
    assert caught.value.reason == "DOCUMENT_TAKES_TOO_MUCH_MEMORY"
    assert (await sandbox.read(PAGE, "", "a.md")).title == "Title"
    await sandbox.close()


async def test_a_child_killed_in_the_middle_costs_the_document_a_second_try_only(sandbox: ParsingSandbox) -> None:
    await sandbox.read(PAGE, "", "a.md")
    reading = asyncio.create_task(sandbox.read(LONG[: 28 * 6_000], "", "a.md"))
    await asyncio.sleep(0.1)
    assert sandbox._child is not None
    os.kill(sandbox._child.pid, signal.SIGKILL)
    assert len((await reading).sections) == 1


async def test_a_document_that_breaks_a_child_twice_is_to_blame(sandbox: ParsingSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    await sandbox.read(PAGE, "", "a.md")
    statuses = []

    async def breaks(_request: bytes) -> None:
        statuses.append(-signal.SIGSEGV)
        sandbox._read_count = 0
        raise parsing_sandbox._Broken(-signal.SIGSEGV)

    monkeypatch.setattr(sandbox, "_exchange", breaks)
    with pytest.raises(DocumentTooCostly, match="SIGSEGV") as caught:
        await sandbox.read(PAGE, "", "a.md")
    assert caught.value.reason == "DOCUMENT_BREAKS_ITS_READER"
    assert len(statuses) == 2


async def test_whoever_stops_waiting_ends_the_child(sandbox: ParsingSandbox) -> None:
    await sandbox.read(PAGE, "", "a.md")
    child = sandbox._child
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sandbox.read(LONG, "", "a.md"), 0.3)
    assert child is not None
    assert child.returncode is not None
    assert (await sandbox.read(PAGE, "", "a.md")).title == "Title"


async def test_where_the_network_cannot_be_left_documents_wait_if_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement.Confinement, "without_network", property(lambda _: False))
    careless, careful = ParsingSandbox(ParsingSettings()), ParsingSandbox(ParsingSettings(require_no_network=True))
    assert (await careless.read(PAGE, "", "a.md")).title == "Title"
    with pytest.raises(Unavailable, match="cannot be cut off from the network"):
        await careful.read(PAGE, "", "a.md")
    await careless.close()
    await careful.close()


async def test_the_child_has_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_RETRIEVER_SECRET", "s3cret")
    sandbox = ParsingSandbox(ParsingSettings())
    await sandbox.read(PAGE, "", "a.md")
    assert sandbox._child is not None
    assert b"s3cret" not in Path(f"/proc/{sandbox._child.pid}/environ").read_bytes()
    # Nothing is open but its two pipes, /dev/null and the copies of them.
    names = {os.readlink(each) for each in Path(f"/proc/{sandbox._child.pid}/fd").iterdir()}
    assert {name.partition(":")[0] for name in names} <= {"pipe", "/dev/null"}
    await sandbox.close()


async def test_the_child_ends_with_its_parent() -> None:
    script = textwrap.dedent("""
        import asyncio, os, signal, time
        from services.retriever.parsing_sandbox import ParsingSandbox
        from services.retriever.settings import ParsingSettings
        async def main():
            sandbox = ParsingSandbox(ParsingSettings())
            await sandbox.read(b"x", "text/plain", "a.txt")
            # Stopped, it cannot notice that nobody is at the other end of its pipe; the kernel ends it.
            os.kill(sandbox._child.pid, signal.SIGSTOP)
            print(sandbox._child.pid, flush=True)
            time.sleep(60)
        asyncio.run(main())
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    # The first line may be of the log.
    child = next(int(line) for line in parent.stdout if line.strip().isdigit())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ends_at = time.monotonic() + 10
    while _alive(child) and time.monotonic() < ends_at:
        await asyncio.sleep(0.05)
    assert not _alive(child)


@pytest.mark.parametrize("means", ["leave_network", "refuse_system_calls"])
def test_each_means_alone_keeps_a_process_off_the_network(means: str) -> None:
    if not _confined(f"print('in force', confinement.{means}())").startswith("in force True"):
        pytest.skip(f"this machine does not allow {means}")
    told = _confined(f"""
        import socket
        server = socket.create_server(("127.0.0.1", 0))
        confinement.{means}()
        try:
            socket.create_connection(server.getsockname(), timeout=2)
            print("connected")
        except OSError as error:
            print("refused", error.errno)
    """)
    assert told.startswith("refused")


def test_a_confined_process_starts_nothing_writes_nothing_and_leaves_no_core() -> None:
    told = _confined("""
        import subprocess, resource
        confinement.limit(256 << 20)
        if not confinement.refuse_system_calls():
            print("no seccomp"); raise SystemExit
        def refused(what):
            try:
                what()
            except (OSError, PermissionError):
                return True
        print(all([
            refused(lambda: open("/tmp/corella-evil", "w")),
            refused(lambda: os.mkdir("/tmp/corella-evil")),
            refused(lambda: os.symlink("/etc/passwd", "/tmp/corella-evil")),
            refused(lambda: subprocess.run(["/bin/true"])),
            refused(os.fork),
            refused(lambda: os.kill(os.getppid(), 0)),
            resource.getrlimit(resource.RLIMIT_CORE) == (0, 0),
            open("/etc/hostname").read() is not None,
        ]))
    """)
    if told.startswith("no seccomp"):
        pytest.skip("no libseccomp here")
    assert told.strip() == "True"


def test_a_process_that_grew_is_noticed() -> None:
    growth = confinement.Growth(64 << 20)
    assert not growth.too_much()
    # From the kernel: what `bytearray` gets may be memory that an earlier test gave back to the allocator.
    with mmap.mmap(-1, 256 << 20):
        assert growth.too_much()
    assert not growth.too_much()


DOCUMENT = StructuredDocument(
    "T",
    (Section(("a", "b"), "x", ("p", Items("- i"), Table("a | b\n1 | 2"), Rows("r"))), Section((), "", (), "comment")),
    "https://h/a",
)


def test_messages_lose_nothing() -> None:
    found = structured_messages.document_of(structured_messages.load(structured_messages.dump(_message())[4:]))
    assert found == DOCUMENT
    assert [type(block) for block in found.sections[0].blocks] == [str, Items, Table, Rows]


@pytest.mark.parametrize(
    "change",
    [
        {"title": 1}, {"title": None}, {"uri": "javascript:alert(1)"}, {"sections": None}, {"sections": [1]}, {"sections": [[[], "", "x"]]},
        {"sections": [[["a"], "x", "k", [["z", "text"]]]]}, {"sections": [[["a"], "x", "k", [["p", 1]]]]},
        {"sections": [[[1], "x", "k", []]]},
    ],
)  # fmt: skip
def test_nothing_but_a_document_is_taken_for_one(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        structured_messages.document_of(_message() | change)


@pytest.mark.parametrize("content", [b"", b"nothing", b"[]", b"1", b"[" * 100_000])
def test_nothing_but_a_json_object_is_a_message(content: bytes) -> None:
    with pytest.raises(ValueError):
        structured_messages.load(content)


def _message() -> dict[str, object]:
    return structured_messages.document_message(DOCUMENT)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _confined(script: str) -> str:
    """What a process prints that runs the script."""
    whole = "import os\nfrom services.retriever import confinement\n" + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False).stdout
