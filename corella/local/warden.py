"""Clears up after a supervisor that was killed: `python -m corella.local.warden HOME`.

The supervisor holds the other end of this process's standard input. When that end closes, the supervisor is gone; what it had recorded in
`run.json` and did not stop itself is then ended, children of children included.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from corella.local.home import Home
from corella.local.processes import end, find, kill_all, remains

GRACE_SECONDS = 10.0


def main() -> None:
    """Waits for the supervisor's end, then clears up."""
    home = Home(Path(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    record = home.read()
    # A dying process closes this pipe a moment before it releases its lock and is gone.
    while record is not None and find(record.supervisor_pid, record.supervisor_started_at):
        time.sleep(0.05)
    # What another run has recorded in the meantime is its own; its supervisor has cleared up.
    while record is not None and (now := home.read()) is not None and now.run_id == record.run_id:
        clear_up(home)
        time.sleep(0.05)


def clear_up(home: Home) -> list[str]:
    """Ends what a dead supervisor left behind, and forgets the run. Returns the names of what was ended. Nothing while one lives."""
    lock = home.lock()
    if lock is None:
        return []
    with lock:
        record = home.read()
        if record is None:
            return []
        # On Linux they were told to end when the supervisor died; they end side by side while the first is waited for.
        ended = [process.name for process in record.processes if end(process.pid, process.started_at, GRACE_SECONDS)]
        # Children of processes that ended by themselves.
        kill_all(remains(record.run_id))
        home.forget()
        return ended


if __name__ == "__main__":
    main()
