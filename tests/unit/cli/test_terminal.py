"""On a terminal: text grows as it comes, citations can be clicked, Ctrl-C stops an answer and nothing else."""

from __future__ import annotations

import codecs
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from corella.v1 import generator_pb2, generator_pb2_grpc

Response = generator_pb2.AskResponse
NOT_YET = "\0"
"""Bytes came, but no whole character."""
# Makes the terminal the one that controls the session, so that Ctrl-C becomes SIGINT.
# A terminal's shell starts programs with Ctrl-C in force; whatever runs the tests may have it ignored, which children inherit.
CONTROLLED = (
    "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); from corella.cli.main import run; run()"
)


class Speaker(generator_pb2_grpc.GeneratorServiceServicer):
    """Says one word at a time, as slowly as it is told to, and notes when a client hangs up."""

    def __init__(self) -> None:
        self.words = ["thirty-six ", "months. ", "\x1b]0;owned\x07", "And cheese."]
        self.pause_seconds = 0.0
        self.hung_up = threading.Event()
        self.asked = 0

    def Ask(self, request: Any, context: Any) -> Iterator[Any]:
        self.asked += 1
        context.add_callback(lambda: self.hung_up.set() if not context.code() else None)
        yield Response(started=generator_pb2.AnswerStarted(answer="answers/1"))
        for word in self.words:
            yield Response(delta=generator_pb2.TextDelta(text=word))
            time.sleep(self.pause_seconds)
            if not context.is_active():
                return
        citation = generator_pb2.Citation(number=1, uri="https://docs.example/w#periods", title="Warranty", heading_path=["Periods"])
        answer = generator_pb2.Answer(text="36 months. [1]", citations=[citation])
        yield Response(citations=generator_pb2.CitationsResolved(answer=answer))
        yield Response(completion=generator_pb2.Completion(model="small"))
        yield Response(memory=generator_pb2.Memory())


class Terminal:
    """`corella` on a pseudo-terminal."""

    def __init__(self, *arguments: str, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""
        self._read_to = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, wanted: str, seconds: float = 20) -> None:
        """Reads on until `wanted` has come, counted from behind what was waited for before."""
        deadline = time.monotonic() + seconds
        while wanted not in self.seen[self._read_to :]:
            left = deadline - time.monotonic()
            assert left > 0, f"no {wanted!r} in {self.seen[self._read_to :]!r}"
            if select.select([self._master], [], [], left)[0]:
                self.seen += self._read()
        self._read_to = self.seen.index(wanted, self._read_to) + len(wanted)

    def read_to_end(self, seconds: float = 20) -> str:
        deadline = time.monotonic() + seconds
        while True:
            assert select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0], f"it goes on: {self.seen[-200:]!r}"
            if not (piece := self._read()):
                break
            self.seen += piece
        self.process.wait(10)
        return self.seen

    def _read(self) -> str:
        try:
            return self._decoder.decode(os.read(self._master, 65536)) or NOT_YET
        except OSError:
            return ""


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def terminal(speaker: Speaker, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    generator_pb2_grpc.add_GeneratorServiceServicer_to_server(speaker, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environment = os.environ | {
        "CORELLA_GENERATOR": f"127.0.0.1:{port}", "CORELLA_HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40",
    }  # fmt: skip
    opened: list[Terminal] = []

    def open_terminal(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments, environment=environment))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.process.kill()
        one.process.wait()
    server.stop(0)


def test_text_grows_then_what_counts_stays_with_a_link_to_click(terminal: Callable[..., Terminal], speaker: Speaker) -> None:
    speaker.pause_seconds = 0.4
    shown = terminal("ask", "How long?").read_to_end()
    assert "thirty-six" in shown, "while it comes"
    last = shown[shown.rindex("\x1b[2K") :]
    assert "36 months. [1]" in last
    assert "cheese" not in last
    assert "\x1b]8;" in last
    assert "https://docs.example/w#periods\x1b\\" in last


def test_what_the_model_says_cannot_set_the_windows_title(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("ask", "How long?").read_to_end()
    assert "\x1b]0;" not in shown
    assert "\x07" not in shown


def test_ctrl_c_stops_the_answer_and_the_session_goes_on(terminal: Callable[..., Terminal], speaker: Speaker) -> None:
    speaker.words, speaker.pause_seconds = ["word "] * 200, 0.1
    opened = terminal("ask")
    opened.read_until("› ")
    opened.type("How long?\n")
    opened.read_until("word")
    opened.type("\x03")
    opened.read_until("Stopped.")
    assert speaker.hung_up.wait(1.0), "the generator must hear of it within a second"
    speaker.words, speaker.pause_seconds = ["again"], 0.0
    opened.type("And now?\n")
    opened.read_until("docs.example")
    opened.type("/quit\n")
    opened.read_to_end()
    assert opened.process.returncode == 0
    assert speaker.asked == 2


def test_ctrl_c_at_the_prompt_ends_nothing_and_ctrl_d_does(terminal: Callable[..., Terminal]) -> None:
    opened = terminal("ask")
    opened.read_until("› ")
    # Readline shows the prompt a moment before it listens.
    time.sleep(0.5)
    opened.type("\x03")
    opened.read_until("Ctrl-D ends")
    # An end of input typed before readline listens again would be swallowed when it takes the terminal over.
    opened.read_until("› ")
    time.sleep(0.5)
    opened.type("\x04")
    opened.read_to_end()
    assert opened.process.returncode == 0


def test_ctrl_c_in_a_single_question_ends_with_130_and_no_traceback(terminal: Callable[..., Terminal], speaker: Speaker) -> None:
    speaker.words, speaker.pause_seconds = ["word "] * 200, 0.1
    opened = terminal("ask", "How long?")
    opened.read_until("word")
    opened.type("\x03")
    shown = opened.read_to_end()
    assert opened.process.returncode == 130
    assert "Traceback" not in shown
    assert speaker.hung_up.wait(1.0)
