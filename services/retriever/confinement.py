"""What the process that reads untrusted documents gives up before it sees the first one. Linux; elsewhere less, and it says so.

    network    a network namespace of its own, which holds nothing but a loopback that is down; where the kernel lets us
    seccomp    the kernel refuses sockets, other programs, opening files for writing, and looking into other processes; where libseccomp is
    limits     address space, size of written files (0), open files, core dumps (0); processor time for each document

The first two are two means to one end. In a container without the right to namespaces the second holds, on a machine without libseccomp
the first; `Confinement` says which do.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # sched.h
_REFUSED = (
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "io_uring_setup",
    "execve", "execveat", "fork", "vfork", "kill", "pidfd_open", "pidfd_getfd", "pidfd_send_signal",
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "userfaultfd", "perf_event_open", "bpf",
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "keyctl", "add_key", "request_key",
    "creat", "truncate", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "mknod", "mknodat", "rmdir",
    "link", "linkat", "symlink", "symlinkat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "openat2", "open_by_handle_at",
)  # fmt: skip
_CLONE_THREAD = 0x00010000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STALE_SHARE = 4


@dataclass(frozen=True)
class Confinement:
    """Which means are in force."""

    namespace: bool
    seccomp: bool
    memory: bool

    @property
    def without_network(self) -> bool:
        """Whether the process can reach no network."""
        return self.namespace or self.seccomp


def leave_network() -> bool:
    """Moves this process, which must have no second thread yet, into a network namespace of its own. Whether that was allowed."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET))


def refuse_system_calls() -> bool:
    """Has the kernel refuse what a reader never needs, for good, with EPERM. Whether libseccomp is there and the kernel took the rules."""
    try:
        import pyseccomp as seccomp  # loads libseccomp when imported, and raises where there is none

        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        refuse = seccomp.ERRNO(errno.EPERM)
        for name in _REFUSED:
            try:
                rules.add_rule(refuse, name)
            except OSError:
                continue  # a call that this kernel or this processor does not have
        for name, place in (("open", 1), ("openat", 2)):
            for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT):
                rules.add_rule(refuse, name, seccomp.Arg(place, seccomp.MASKED_EQ, flag, flag))
        rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0))
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags lie in memory, where no rule can look; libc then uses `clone`
        rules.load()
    except (ImportError, RuntimeError, OSError, AttributeError):
        return False
    return True


def limit(memory_bytes: int) -> bool:
    """Bounds what this process may take beyond what it has now. Whether memory is bounded too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    here = address_space()
    if here is None:
        return False
    resource.setrlimit(resource.RLIMIT_AS, (here + memory_bytes, here + memory_bytes))
    return True


def allow_seconds(cpu_seconds: int) -> None:
    """Gives this process so much more processor time, counted from now; after that the kernel ends it with SIGXCPU."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + cpu_seconds, hard))


def address_space() -> int | None:
    """Bytes of address space this process has; None where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE_BYTES
    except OSError:
        return None


class Growth:
    """Notices when so much of the allowance did not come back after a document that the next ones would get too little."""

    def __init__(self, allowance_bytes: int) -> None:
        self._base = address_space() or 0
        self._most = allowance_bytes // _STALE_SHARE

    def too_much(self) -> bool:
        """Whether this process should be replaced."""
        if (address_space() or 0) - self._base <= self._most:
            return False
        gc.collect()
        return (address_space() or 0) - self._base > self._most
