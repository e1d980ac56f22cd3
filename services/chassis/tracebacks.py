"""Tracebacks without what exceptions say: where something broke and as what, and none of the text it broke on.

A parser names the line it cannot read, a validator the value it refuses, a template the key it lacks: messages of exceptions hold text of
documents and questions. Frames hold lines of code only.
"""

from __future__ import annotations

import traceback

import grpc

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def without_text(error: BaseException) -> str:
    """The traceback of an exception and of those that led to it, with their types only; of a failed system call or RPC also its code."""
    return "".join(_lines(error, set())).rstrip("\n")


def _lines(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    lines: list[str] = []
    if error.__cause__ is not None and id(error.__cause__) not in seen:
        lines += [*_lines(error.__cause__, seen), _CAUSE]
    elif error.__context__ is not None and not error.__suppress_context__ and id(error.__context__) not in seen:
        lines += [*_lines(error.__context__, seen), _CONTEXT]
    if error.__traceback__ is not None:
        lines += ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
    lines.append(f"{_name(error)}\n")
    if isinstance(error, BaseExceptionGroup):
        for number, each in enumerate(error.exceptions, 1):
            lines += [f"\nOf {len(error.exceptions)}, exception {number}:\n\n", *_lines(each, seen)]
    return lines


def _name(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    if isinstance(error, grpc.RpcError) and callable(code := getattr(error, "code", None)):
        return f"{name}: {code().name}"
    return name
