"""`corella ask` without a question: a prompt, follow-ups, and a conversation that is remembered."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import grpc

from corella.cli.answering import TIMEOUT_SECONDS, AnswerView, memory_notes
from corella.cli.failures import report
from corella.cli.output import console
from corella.tracing.recorder import CommandTrace
from corella.v1 import generator_pb2, generator_pb2_grpc

PROMPT = "› "
HELP = "/new begins a new conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer."


class Chat:
    """One session at the prompt."""

    def __init__(
        self,
        stub: generator_pb2_grpc.GeneratorServiceStub,
        request: generator_pb2.AskRequest,
        home: Path,
        *,
        show_passages: bool,
        trace: CommandTrace,
    ) -> None:
        self._stub = stub
        self._request = request
        self._show_passages = show_passages
        self._trace = trace
        self._history_file = home / "history"
        self._out = console()
        self._rest: threading.Thread | None = None
        self._notes: list[str] = []
        if not request.conversation:
            self._begin()

    def run(self) -> None:
        """Reads questions until the end of input."""
        interactive = sys.stdin.isatty()
        if interactive:
            self._out.print(HELP, style="dim")
        with self._history():
            while (text := self._read(interactive)) is not None:
                if text == "/quit":
                    break
                if text == "/new":
                    self._finish_memory()
                    self._begin()
                    self._out.print("A new conversation.", style="dim")
                elif text.startswith("/"):
                    self._out.print(HELP, style="dim")
                elif text:
                    self._ask(text)
        self._finish_memory()

    def _begin(self) -> None:
        self._request.conversation = f"conversations/{uuid.uuid4().hex}"

    def _read(self, interactive: bool) -> str | None:
        while True:
            try:
                return input(PROMPT if interactive else "").strip()
            except EOFError:
                if interactive:
                    self._out.print()
                return None
            except KeyboardInterrupt:
                self._out.print(f"\n{HELP}", style="dim")

    def _ask(self, question: str) -> None:
        # A follow-up is understood with the help of what the turn before left; that may still be on its way.
        self._finish_memory()
        self._request.question = question
        # One question, one trace: the time a person takes to read and type belongs to none.
        self._trace.begin_anew()
        events = self._stub.Ask(self._request, timeout=TIMEOUT_SECONDS)
        view = AnswerView(time.monotonic(), show_passages=self._show_passages)
        shown = False
        try:
            for event in view.follow(events):
                view.take(event)
                if event.WhichOneof("event") == "completion":
                    shown = True
                    break
        except KeyboardInterrupt:
            events.cancel()
            self._out.print("Stopped.", style="dim")
        except grpc.RpcError as error:
            report(error, as_json=False)
        if shown:
            # The summary takes the model a while; the person may read and type in the meantime.
            self._rest = threading.Thread(target=self._take_memory, args=(events,), daemon=True)
            self._rest.start()
        else:
            self._trace.close()

    def _take_memory(self, events: Any) -> None:
        with contextlib.suppress(grpc.RpcError):
            for event in events:
                if event.WhichOneof("event") == "memory":
                    self._notes += memory_notes(event.memory)
        self._trace.close()

    def _finish_memory(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            with contextlib.suppress(KeyboardInterrupt):
                rest.join(TIMEOUT_SECONDS)
        for note in self._notes:
            self._out.print(note, style="dim")
        self._notes.clear()

    @contextlib.contextmanager
    def _history(self) -> Any:
        """Arrow keys bring earlier questions back, also those of earlier sessions."""
        try:
            import readline
        except ImportError:
            yield
            return
        with contextlib.suppress(OSError):
            readline.read_history_file(self._history_file)
        try:
            yield
        finally:
            readline.set_history_length(1000)
            with contextlib.suppress(OSError):
                self._history_file.touch(mode=0o600)
                readline.write_history_file(self._history_file)
