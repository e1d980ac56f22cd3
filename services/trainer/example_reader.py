"""Reads a stream of JSON lines into examples, however its pieces cut the lines, within bounds, and tells every bad line by its number."""

from __future__ import annotations

from services.chassis.errors import Violation
from services.trainer.domain import Example, ExamplesInvalid
from services.trainer.examples import content_id, from_json
from services.trainer.settings import LimitSettings
from services.trainer.strict_json import LineInvalid

MAX_VIOLATIONS = 100
"""Kept; those beyond are counted."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ExampleReader:
    """Takes pieces in their order. Keeps at most one unfinished line beside the examples read.

    `feed` parses what is complete, in the thread it is called in: large pieces belong into one of their own.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._rest = bytearray()
        self._skipping = False
        self._line = 0
        self._bytes = 0
        self._ids: dict[str, int] = {}
        self._examples: list[Example] = []
        self._violations: list[Violation] = []
        self._violation_count = 0

    def feed(self, piece: bytes) -> None:
        """Takes the next piece. Raises `ExamplesInvalid` at once when the file is larger than is taken."""
        self._bytes += len(piece)
        if self._bytes > self._limits.dataset_max_bytes:
            self._refuse(f"the file has more than {self._limits.dataset_max_bytes:,} bytes")
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._keep(piece[start:end])
            self._end_line()
            start = end + 1
        self._keep(piece[start:])

    def finish(self) -> list[Example]:
        """The examples, in their order. Raises `ExamplesInvalid` when a line was none, or all were empty."""
        if self._rest or self._skipping:
            self._end_line()
        if not self._violation_count and not self._examples:
            self._refuse("there are no examples")
        if self._violation_count:
            raise ExamplesInvalid.of_lines(self._violations, self._violation_count)
        return self._examples

    def _keep(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > self._limits.line_max_bytes:
            self._skipping = True
            self._rest.clear()

    def _end_line(self) -> None:
        self._line += 1
        raw, skipped = bytes(self._rest), self._skipping
        self._rest.clear()
        self._skipping = False
        if skipped:
            self._wrong(f"has more than {self._limits.line_max_bytes:,} bytes")
            return
        if self._line == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        if not raw.strip():
            return
        try:
            example = from_json(raw.decode())
        except UnicodeDecodeError as error:
            self._wrong(f"is not UTF-8 at byte {error.start + 1:,}")
            return
        except LineInvalid as error:
            for problem in error.problems:
                self._wrong(problem)
            return
        # The same example twice is a duplicate, left out later; another one of the same name is a mistake.
        given = example.id != content_id(example)
        if given and example.id in self._ids:
            self._wrong(f"the id `{example.id}` is that of line {self._ids[example.id]:,} already")
            return
        if given:
            self._ids[example.id] = self._line
        if len(self._examples) >= self._limits.dataset_max_examples:
            self._refuse(f"there are more than {self._limits.dataset_max_examples:,} examples")
        self._examples.append(example)

    def _wrong(self, what: str) -> None:
        self._violation_count += 1
        if len(self._violations) < MAX_VIOLATIONS:
            self._violations.append((f"line {self._line}", what))

    def _refuse(self, what: str) -> None:
        self._violation_count += 1
        raise ExamplesInvalid.of_lines([("jsonl", what), *self._violations[: MAX_VIOLATIONS - 1]], self._violation_count)
