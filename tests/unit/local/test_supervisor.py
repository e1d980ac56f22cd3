"""The supervisor on small processes of its own: starts in order, restarts, gives up, stops all, leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from corella.local import process as process_module
from corella.local.home import Home, Ports, RunRecord
from corella.local.probes import port_open
from corella.local.processes import find, remains
from corella.local.stack import ProcessSpec
from corella.local.supervisor import AlreadyRunning, Supervisor
from corella.local.warden import clear_up
from tests.ports import free_port

LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]]).wait()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def listener(name: str, *, code: str = LISTEN, after: tuple[str, ...] = (), stop_seconds: float = 2.0, stop_turn: int = 0) -> ProcessSpec:
    port = free_port()
    command = (sys.executable, "-c", code, str(port), LISTEN)
    return ProcessSpec(
        name, command, port_open(port), port=port, after=after, start_seconds=20, stop_seconds=stop_seconds, stop_turn=stop_turn
    )


def failing(name: str) -> ProcessSpec:
    return ProcessSpec(name, (sys.executable, "-c", "raise SystemExit(7)"), port_open(free_port()))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    clear_up(made)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "BACKOFF_SECONDS", (0.05,))
    monkeypatch.setattr(process_module, "FIRST_PROBE_SECONDS", 0.02)
    monkeypatch.setattr(process_module, "PROBE_SECONDS", 0.05)


@asynccontextmanager
async def running(home: Home, specs: list[ProcessSpec], changed: Callable[[RunRecord], None] | None = None) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(home, Ports.from_base(), specs, changed)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        supervisor.stop()
        await task


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_all_become_healthy_and_none_is_left_after_the_stop(home: Home) -> None:
    async with running(home, [listener("a"), listener("b", after=("a",))]) as supervisor:
        await until(lambda: supervisor.record.state == "healthy")
        recorded = home.read()
        assert recorded is not None
        assert [(p.name, p.state) for p in recorded.processes] == [("a", "healthy"), ("b", "healthy")]
        assert all(find(p.pid, p.started_at) for p in recorded.processes)
        run_id = recorded.run_id
    assert home.read() is None
    assert remains(run_id) == []


async def test_a_process_starts_only_when_those_before_it_are_healthy(home: Home) -> None:
    seen: list[tuple[str, str]] = []

    def note(record: RunRecord) -> None:
        seen.extend((p.name, p.state) for p in record.processes if (p.name, p.state) not in seen)

    async with running(home, [listener("late", after=("early",)), listener("early")], note) as supervisor:
        await until(lambda: supervisor.record.state == "healthy")
    assert seen.index(("early", "healthy")) < seen.index(("late", "starting"))


async def test_what_dies_is_started_again_and_the_count_says_so(home: Home) -> None:
    async with running(home, [listener("a")]) as supervisor:
        record = supervisor.record.process("a")
        await until(lambda: record.state == "healthy")
        first = record.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: record.state == "healthy" and record.pid != first)
        assert record.restarts == 1


async def test_children_of_a_dead_process_do_not_stand_in_its_successors_way(home: Home) -> None:
    spec = listener("parent", code=PARENT)
    async with running(home, [spec]) as supervisor:
        record = supervisor.record.process("parent")
        await until(lambda: record.state == "healthy")
        assert record.pid is not None
        os.kill(record.pid, signal.SIGKILL)
        await until(lambda: record.restarts == 1 and record.state == "healthy")
        holders = [p for p in remains(supervisor.record.run_id) if LISTEN in p.cmdline()]
        assert len(holders) == 2, "the new parent and its one child"


async def test_what_keeps_dying_is_given_up_with_the_reason_and_the_rest_stays(home: Home) -> None:
    async with running(home, [failing("broken"), listener("well")]) as supervisor:
        broken, well = supervisor.record.process("broken"), supervisor.record.process("well")
        await until(lambda: broken.state == "given up" and well.state == "healthy")
        assert "status 7" in broken.note
        assert str(home.log_file("broken")) in broken.note
        assert supervisor.record.state == "degraded"


async def test_what_was_given_up_is_tried_again_when_asked(home: Home, tmp_path: Path) -> None:
    port, flag = free_port(), tmp_path / "mended"
    code = f"import os\nif not os.path.exists({str(flag)!r}): raise SystemExit(1)\n{LISTEN}"
    spec = ProcessSpec("a", (sys.executable, "-c", code, str(port)), port_open(port))
    async with running(home, [spec]) as supervisor:
        record = supervisor.record.process("a")
        await until(lambda: record.state == "given up")
        flag.touch()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: record.state == "healthy")


async def test_one_that_does_not_listen_to_sigterm_is_killed(home: Home) -> None:
    async with running(home, [listener("deaf", code=DEAF + LISTEN, stop_seconds=0.3)]) as supervisor:
        await until(lambda: supervisor.record.state == "healthy")
        run_id = supervisor.record.run_id
    assert remains(run_id) == []


async def test_those_with_a_lower_turn_are_stopped_first(home: Home) -> None:
    stopped: list[str] = []

    def note(record: RunRecord) -> None:
        stopped.extend(p.name for p in record.processes if p.state == "stopped" and p.name not in stopped)

    async with running(home, [listener("store", stop_turn=2), listener("service", stop_turn=1)], note) as supervisor:
        await until(lambda: supervisor.record.state == "healthy")
    assert stopped == ["service", "store"]


async def test_a_second_supervisor_in_the_same_home_is_refused(home: Home) -> None:
    async with running(home, [listener("a")]) as supervisor:
        await until(lambda: supervisor.record.state == "healthy")
        with pytest.raises(AlreadyRunning):
            await Supervisor(home, Ports.from_base(), []).run()
        assert supervisor.record.process("a").state == "healthy"


STANDALONE = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from corella.local.home import Home, Ports
from corella.local.probes import port_open
from corella.local.stack import ProcessSpec
from corella.local.supervisor import Supervisor
port = int(sys.argv[3])
command = (sys.executable, "-c", sys.argv[4], str(port), sys.argv[5])
asyncio.run(Supervisor(Home(Path(sys.argv[2])), Ports.from_base(), [ProcessSpec("a", command, port_open(port))]).run())
"""


def _killed_supervisor(home: Home, code: str) -> RunRecord:
    """A supervisor in a process of its own, killed with -9 once its process is healthy. Returns what it had recorded."""
    port, root = free_port(), str(Path(__file__).parents[3])
    supervisor = subprocess.Popen([sys.executable, "-c", STANDALONE, root, str(home.path), str(port), code, LISTEN])
    deadline = time.monotonic() + 20
    record = None
    while (record is None or record.state != "healthy") and time.monotonic() < deadline:
        record = home.read()
        time.sleep(0.05)
    assert record is not None
    assert record.state == "healthy"
    supervisor.kill()
    supervisor.wait()
    return record


@pytest.mark.parametrize(("name", "code"), [("a listener", LISTEN), ("one with a child", PARENT)])
def test_when_the_supervisor_is_killed_nothing_it_started_lives_on(home: Home, name: str, code: str) -> None:
    record = _killed_supervisor(home, code)
    deadline = time.monotonic() + 20
    while (remains(record.run_id) or home.read() is not None) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert remains(record.run_id) == []
    assert home.read() is None


def test_a_process_is_known_by_pid_and_start_together() -> None:
    me = psutil.Process()
    assert find(me.pid, me.create_time()) is not None
    assert find(me.pid, me.create_time() - 60) is None
    assert find(None, None) is None


async def test_the_environment_names_the_run_and_keeps_the_callers_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_TEST_MARK", "kept")
    async with running(home, [listener("a")]) as supervisor:
        await until(lambda: supervisor.record.state == "healthy")
        [process] = remains(supervisor.record.run_id)
        environment = process.environ()
    assert environment["CORELLA_TEST_MARK"] == "kept"
    assert environment["HF_HUB_OFFLINE"] == "1"


async def test_the_log_of_the_run_before_is_kept_once(home: Home) -> None:
    for _ in range(2):
        async with running(home, [failing("a")]) as supervisor:
            await until(lambda: supervisor.record.process("a").state == "given up")
    assert home.log_file("a").with_suffix(".log.1").exists()
