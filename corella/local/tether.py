"""Runs a command that must not outlive its parent: `python -I tether.py PARENT_PID COMMAND…`.

Asks the kernel for SIGTERM when the parent dies, however it dies, then becomes the command. Imports next to nothing, because it is part of
every process's start. Elsewhere than on Linux it only becomes the command; the warden then does the rest.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; kept across exec


def main() -> None:
    """Never returns."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before the command began")
    os.execvp(command[0], command)  # noqa: S606 the command is the supervisor's own


if __name__ == "__main__":
    main()
