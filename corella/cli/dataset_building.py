"""Streams files of examples to the trainer, and waits for datasets that are being built."""

from __future__ import annotations

import time
import uuid
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc

from corella.cli.failures import UserError
from corella.cli.naming import short
from corella.cli.output import console
from corella.errors import RpcFailure
from corella.v1 import trainer_pb2, trainer_pb2_grpc

PIECE_BYTES = 256 * 2**10
UPLOAD_TIMEOUT_SECONDS = 600.0
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
"""How long a trainer that went away is waited for."""
PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


class Patience:
    """Waits between tries while a service is away, for two minutes from the last sign of life."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """There was a sign of life."""
        self._until = time.monotonic() + self._seconds

    def wait_or_raise(self, error: Any) -> None:
        """Sleeps a moment if the error may pass and there is patience left, else raises it."""
        failure = RpcFailure.from_rpc_error(error)
        if failure.code not in PASSING or time.monotonic() > self._until:
            raise error
        time.sleep(min(failure.retry_after_seconds or 1.0, 5.0))


def upload(
    stub: trainer_pb2_grpc.TrainerServiceStub, files: list[Path], start: trainer_pb2.DatasetStart, *, quiet: bool
) -> trainer_pb2.Dataset:
    """Streams the files, one after the other, as one dataset. Raises `UserError` that names file and line of every bad example."""
    start.request_id = uuid.uuid4().hex
    patience = Patience()
    bars = None if quiet else _bars(sizes=True)
    with bars or nullcontext():
        bar = bars.add_task("sending", total=sum(path.stat().st_size for path in files)) if bars else None
        while True:
            lines: list[tuple[str, int]] = []
            unreadable: list[OSError] = []
            parts = _parts(files, start, lines, unreadable, lambda count: bars.advance(bar, count) if bars else None)
            try:
                return stub.CreateDataset(parts, timeout=UPLOAD_TIMEOUT_SECONDS).dataset
            except grpc.RpcError as error:
                if unreadable:
                    raise unreadable[0] from error
                failure = RpcFailure.from_rpc_error(error)
                if failure.reason == "EXAMPLES_INVALID":
                    raise _bad_lines(failure, lines) from error
                patience.wait_or_raise(error)
                if bars:
                    bars.reset(bar)


def _parts(
    files: list[Path],
    start: trainer_pb2.DatasetStart,
    lines: list[tuple[str, int]],
    unreadable: list[OSError],
    advance: Callable[[int], None],
) -> Iterator[trainer_pb2.CreateDatasetRequest]:
    """The messages of the stream. Notes in `lines` how many lines came before each file.

    gRPC reads this in a thread of its own and tells nobody why it broke off, so an error of reading is left in `unreadable`.
    """
    yield trainer_pb2.CreateDatasetRequest(start=start)
    count = 0
    for path in files:
        lines.append((str(path), count))
        last = b"\n"
        try:
            with path.open("rb") as file:
                # A mark of byte order is allowed at the beginning of the stream; later files lose theirs.
                if count and file.read(len(BOM_UTF8)) != BOM_UTF8:
                    file.seek(0)
                while piece := file.read(PIECE_BYTES):
                    yield trainer_pb2.CreateDatasetRequest(jsonl=piece)
                    count += piece.count(b"\n")
                    last = piece
                    advance(len(piece))
        except OSError as error:
            unreadable.append(error)
            raise
        if not last.endswith(b"\n"):
            # The next file begins on a line of its own.
            yield trainer_pb2.CreateDatasetRequest(jsonl=b"\n")
            count += 1


def _bad_lines(failure: RpcFailure, lines: list[tuple[str, int]]) -> UserError:
    violations = [(place_of(field, lines), description) for field, description in failure.violations]
    count = int(failure.metadata.get("line_count") or len(violations))
    noun = "line is not an example" if count == 1 else "lines are not examples"
    more = f" The first {len(violations):,} are shown." if count > len(violations) else ""
    return UserError(
        f"{count:,} {noun}; nothing was stored.{more}", hint="docs/examples.md describes the lines.", reason=failure.reason,
        violations=violations,
    )  # fmt: skip


def place_of(field: str, lines: list[tuple[str, int]]) -> str:
    """`line 12` of the stream as file and line: `more.jsonl:4`. `lines` tells how many lines came before each file."""
    words = field.split()
    if len(words) < 2 or words[0] != "line" or not words[1].isdigit():
        return field
    number = int(words[1])
    name, before = next(((name, before) for name, before in reversed(lines) if before < number), ("line", 0))
    return " ".join([f"{name}:{number - before}", *words[2:]])


def wait(stub: trainer_pb2_grpc.TrainerServiceStub, dataset: trainer_pb2.Dataset, *, quiet: bool) -> trainer_pb2.Dataset:
    """Waits until the dataset is READY or FAILED, showing how far it is. Ctrl-C leaves the work going, and says so."""
    patience = Patience()
    bars = None if quiet else _bars(sizes=False)
    with bars or nullcontext():
        bar = bars.add_task("building", total=None) if bars else None
        try:
            while dataset.state == trainer_pb2.DATASET_STATE_BUILDING:
                time.sleep(POLL_SECONDS)
                try:
                    dataset = stub.GetDataset(trainer_pb2.GetDatasetRequest(name=dataset.name)).dataset
                    patience.renew()
                    if bars:
                        bars.update(bar, description="building", completed=dataset.done_count, total=dataset.total_count or None)
                except grpc.RpcError as error:
                    if bars:
                        bars.update(bar, description="trainer away")
                    patience.wait_or_raise(error)
        except KeyboardInterrupt:
            console(error=True).print(f"The work goes on: `corella datasets show {short(dataset.name)}` shows it.", soft_wrap=True)
            raise
    return dataset


def _bars(*, sizes: bool) -> Any:
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    count = DownloadColumn() if sizes else MofNCompleteColumn()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), count, TimeElapsedColumn())
    return Progress(*columns, console=console(error=True), transient=True)
