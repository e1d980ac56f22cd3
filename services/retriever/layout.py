"""What a section is laid out into before it is packed: blocks, items, lines, and at last sentences.

Sentences are found by sentencex (rules of the Wikimedia Foundation, MIT): it knows abbreviations ("e.g.", "No. 7", "Dr."),
needs no model, keeps every character, and takes 2 ms for 100,000 characters.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sentencex

from services.retriever.structure import Items, Rows, Table


@dataclass(slots=True)
class Atom:
    """A sentence, a line, or a part of one."""

    text: str
    glue: str
    """What stands between it and the one before."""
    repeatable: bool
    weight: int = 0

    def atoms(self) -> Iterator[Atom]:
        """Itself, so that it can stand where a group can."""
        yield self


@dataclass(slots=True)
class Group:
    """What should stay together, down to the atoms."""

    children: list[Atom | Group]
    header: Atom | None = None
    """Repeated above what follows the first child in another piece."""
    weight: int = 0

    def atoms(self) -> Iterator[Atom]:
        """All atoms below it, in order."""
        for child in self.children:
            yield from child.atoms()


def lay_out(blocks: Iterable[str]) -> list[Group]:
    """The blocks of a section, the atoms not yet weighed."""
    return [_lay_out_block(block) for block in blocks if block.strip()]


def _lay_out_block(block: str) -> Group:
    lines = [line for line in block.split("\n") if line.strip()]
    if isinstance(block, Rows | Table):
        rows: list[Atom | Group] = [Atom(line.rstrip(), "\n", repeatable=False) for line in lines]
        rows[0].glue = "\n\n"  # type: ignore[union-attr]
        if isinstance(block, Table) and len(rows) > 1:
            header = rows[0]
            assert isinstance(header, Atom)
            return Group([Group(rows[:2]), *rows[2:]], header=header)
        return Group(rows)
    laid = [_lay_out_line(line) for line in lines]
    next(laid[0].atoms()).glue = "\n\n"
    if not isinstance(block, Items):
        return Group(list(laid))
    items: list[Atom | Group] = []
    for line, group in zip(lines, laid, strict=True):
        if items and line[0] == " ":
            items[-1].children.append(group)  # type: ignore[union-attr]
        else:
            items.append(Group([group]))
    return Group(items)


def _lay_out_line(line: str) -> Group:
    """The sentences of a line."""
    atoms: list[Atom | Group] = []
    glue, begun = "\n", ""
    for sentence in _sentences(line):
        begun += sentence
        text = begun.rstrip()
        if len(text.strip()) <= _MAX_MARKER_CHARS:  # "12." is the number of what follows
            continue
        atoms.append(Atom(text, glue, repeatable=True))
        glue, begun = (" " if len(text) < len(begun) else ""), ""
    if begun.strip():
        atoms.append(Atom(begun.rstrip(), glue, repeatable=True))
    return Group(atoms)


def _sentences(line: str) -> Iterator[str]:
    start = 0
    while start < len(line):
        end = start + _MAX_SEGMENTED_CHARS
        if end < len(line):
            middle = start + _MAX_SEGMENTED_CHARS // 2
            end = (line.rfind(". ", middle, end) + 2 if ". " in line[middle:end] else line.rfind(" ", middle, end) + 1) or end
        yield from sentencex.segment("en", line[start:end])
        start = end


_MAX_MARKER_CHARS = 4
_MAX_MARKS = 8
_MAX_SEGMENTED_CHARS = 4000
"""Handed to sentencex at once: on some texts ("![![![") its time grows with the square of the length."""


def parts_of(atom: Atom, count: int) -> Iterator[Atom]:
    """About `count` parts of an atom, cut at blanks where there are some."""
    text, glue, start = atom.text, atom.glue, 0
    step = max(1, math.ceil(len(text) / max(2, count)))
    while start < len(text):
        end = min(len(text), start + step)
        if end < len(text):
            blank = text.rfind(" ", start + step // 2, end + 1)
            if blank > start:
                end = blank
            letter = end
            while end - letter < _MAX_MARKS and letter > start and unicodedata.category(text[letter])[0] == "M":
                letter -= 1
            end = letter if letter > start else end  # an accent stays with its letter
        part = text[start:end].rstrip()
        if part.strip():
            yield Atom(part, glue, atom.repeatable)
        start = end
        glue = ""
        while start < len(text) and text[start] == " ":
            start, glue = start + 1, " "


def sum_up(group: Group) -> int:
    """Sets and returns the weight of a group and of all groups below it."""
    group.weight = sum(child.weight if isinstance(child, Atom) else sum_up(child) for child in group.children)
    return group.weight
