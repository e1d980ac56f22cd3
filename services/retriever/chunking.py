"""Cuts a document into pieces that fit the embedding model, along its structure.

A piece never crosses a heading, so that its citation opens the section it stands in. Within a section it ends, in this
order of preference, between blocks, between items or lines, between sentences, and, in a sentence that alone is over the
budget, between words and at last between characters. The end of a piece is repeated at the beginning of the next of the
same section, in whole sentences. Same document, limits and tokenizer: same pieces.

Sentences are found by sentencex (rules of the Wikimedia Foundation, MIT): it knows abbreviations ("e.g.", "No. 7", "Dr."),
needs no model, keeps every character, and takes 2 ms for 100,000 characters.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import sentencex

from services.chassis.errors import InvalidArgument
from services.retriever.structure import DocumentTooLarge, Items, Piece, Rows, Section, StructuredDocument, Table, clip

CountTokens = Callable[[Sequence[str]], Sequence[int]]

MAX_PIECES = 50_000
MAX_PREFIX_CHARS = 120
"""Of the title, and of each heading, in what is embedded."""
CHARS_PER_TOKEN = 16
"""So many characters count as one token at least. WordPiece makes one token of any word longer than 100 characters, and
none of blanks; a piece of either could be of any size."""


class ChunkingImpossible(InvalidArgument):
    """The title alone takes the place that the text needs."""

    reason = "CHUNK_TOO_SMALL"


def embedding_text(title: str, heading_path: Sequence[str], text: str) -> str:
    """What is embedded for a piece: the title and the headings in one line, then the text."""
    path = [clip(part, MAX_PREFIX_CHARS) for part in heading_path]
    short_title = clip(title, MAX_PREFIX_CHARS)
    if short_title and short_title not in path:
        path.insert(0, short_title)
    return "\n".join(filter(None, (" > ".join(path), text)))


def cut(document: StructuredDocument, max_tokens: int, overlap_tokens: int, count_tokens: CountTokens) -> tuple[Piece, ...]:
    """The pieces of a document, none of which has more than `max_tokens` tokens as `embedding_text` gives it.

    `overlap_tokens` 0 or less: none. `count_tokens` gives the tokens of each text, without special tokens; it is called with
    all texts of the document at once, and twice for almost every document (to plan, and to check the outcome).
    Raises ChunkingImpossible and DocumentTooLarge.
    """
    plans = [_Plan(section, _lay_out(section.blocks)) for section in _with_text(document.sections)]
    _weigh_all(document.title, plans, max_tokens, count_tokens)
    unfinished = plans
    for _ in range(_MAX_ROUNDS):
        _break_up(unfinished, count_tokens)
        for plan in unfinished:
            plan.texts = _pack(plan.blocks, plan.room, overlap_tokens)
        if sum(len(plan.texts) for plan in plans) > MAX_PIECES:
            raise DocumentTooLarge(f"The document would be cut into more than {MAX_PIECES:,} pieces.")
        unfinished = _over_budget(document.title, unfinished, max_tokens, count_tokens)
        if not unfinished:
            break
    else:
        raise ChunkingImpossible(f"The text under {unfinished[0].path} cannot be cut into pieces of {max_tokens} tokens.")
    pieces = [(plan, text) for plan in plans for text in plan.texts]
    return tuple(Piece(i, plan.path, plan.section.anchor, text, plan.section.kind) for i, (plan, text) in enumerate(pieces))


_MAX_ROUNDS = 12


@dataclass(slots=True)
class _Atom:
    """A sentence, a line, or a part of one."""

    text: str
    glue: str
    """What stands between it and the one before."""
    repeatable: bool
    weight: int = 0

    def atoms(self) -> Iterator[_Atom]:
        yield self


@dataclass(slots=True)
class _Group:
    """What should stay together, down to the atoms."""

    children: list[_Atom | _Group]
    header: _Atom | None = None
    """Repeated above what follows the first child in another piece."""
    weight: int = 0

    def atoms(self) -> Iterator[_Atom]:
        for child in self.children:
            yield from child.atoms()


@dataclass(slots=True)
class _Plan:
    """How one section is being cut."""

    section: Section
    blocks: list[_Group]
    path: tuple[str, ...] = ()
    room: int = 0
    """Tokens that the headings leave for the text."""
    texts: list[str] = field(default_factory=list)


def _with_text(sections: Sequence[Section]) -> Iterator[Section]:
    """Sections with blocks. A heading without a text of its own lives on in the paths below it; if there are none, it is the text."""
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        depth = len(section.heading_path)
        if section.blocks:
            yield section
        elif following is None or len(following.heading_path) <= depth or following.heading_path[:depth] != section.heading_path:
            yield replace(section, blocks=section.heading_path[-1:])


def _lay_out(blocks: Iterable[str]) -> list[_Group]:
    return [_lay_out_block(block) for block in blocks]


def _lay_out_block(block: str) -> _Group:
    lines = [line for line in block.split("\n") if line.strip()]
    if isinstance(block, Rows | Table):
        rows: list[_Atom | _Group] = [_Atom(line.rstrip(), "\n", repeatable=False) for line in lines]
        rows[0].glue = "\n\n"  # type: ignore[union-attr]
        if isinstance(block, Table) and len(rows) > 1:
            header = rows[0]
            assert isinstance(header, _Atom)
            return _Group([_Group(rows[:2]), *rows[2:]], header=header)
        return _Group(rows)
    laid = [_lay_out_line(line) for line in lines]
    next(laid[0].atoms()).glue = "\n\n"
    if not isinstance(block, Items):
        return _Group(list(laid))
    items: list[_Atom | _Group] = []
    for line, group in zip(lines, laid, strict=True):
        if items and line[0] == " ":
            items[-1].children.append(group)  # type: ignore[union-attr]
        else:
            items.append(_Group([group]))
    return _Group(items)


def _lay_out_line(line: str) -> _Group:
    """The sentences of a line."""
    atoms: list[_Atom | _Group] = []
    glue, begun = "\n", ""
    for sentence in sentencex.segment("en", line):
        begun += sentence
        text = begun.rstrip()
        if len(text.strip()) <= _MAX_MARKER_CHARS:  # "12." is the number of what follows
            continue
        atoms.append(_Atom(text, glue, repeatable=True))
        glue, begun = (" " if len(text) < len(begun) else ""), ""
    if begun.strip():
        atoms.append(_Atom(begun.rstrip(), glue, repeatable=True))
    return _Group(atoms)


_MAX_MARKER_CHARS = 4


def _weight(text: str, tokens: int) -> int:
    return max(tokens, math.ceil(len(text) / CHARS_PER_TOKEN))


def _weigh_all(title: str, plans: Sequence[_Plan], max_tokens: int, count_tokens: CountTokens) -> None:
    """Weighs every atom, and chooses for each section the longest of its heading paths that leaves half of the budget."""
    paths = {plan.section.heading_path for plan in plans}
    shortened = sorted({shorter for path in paths for shorter in (path, path[-1:], ())})
    atoms = [atom for plan in plans for block in plan.blocks for atom in block.atoms()]
    counts = count_tokens([*(embedding_text(title, path, "") or " " for path in shortened), *(atom.text for atom in atoms)])
    for atom, tokens in zip(atoms, counts[len(shortened) :], strict=True):
        atom.weight = _weight(atom.text, tokens)
    prefix = dict(zip(shortened, counts[: len(shortened)], strict=True))
    if 4 * prefix[()] > 3 * max_tokens:
        raise ChunkingImpossible(f"The title alone has {prefix[()]} tokens; a chunk of this corpus has {max_tokens}. Shorten the title.")
    for plan in plans:
        path = plan.section.heading_path
        plan.path = next((shorter for shorter in (path, path[-1:]) if 2 * prefix[shorter] <= max_tokens), ())
        plan.room = max_tokens - prefix[plan.path]


def _break_up(plans: Sequence[_Plan], count_tokens: CountTokens) -> None:
    """Replaces atoms that are over the room of their section by parts of them, until none is."""
    work = [(plan.room, block) for plan in plans for block in plan.blocks]
    while work:
        broken: list[tuple[int, _Group]] = []
        for room, group in work:
            if group.header and 3 * group.header.weight > room:
                group.header = None
            limit = room - group.header.weight if group.header else room
            stack = [group]
            while stack:
                parent = stack.pop()
                for i, child in enumerate(parent.children):
                    if isinstance(child, _Group):
                        stack.append(child)
                    elif child.weight > limit and len(child.text) > 1:
                        parts = _Group(list(_parts(child, math.ceil(2 * child.weight / max(1, limit)))))
                        parent.children[i] = parts
                        broken.append((limit, parts))
        new = [atom for _, group in broken for atom in group.atoms()]
        for atom, tokens in zip(new, count_tokens([atom.text for atom in new]) if new else (), strict=True):
            atom.weight = _weight(atom.text, tokens)
        work = broken
    for plan in plans:
        for block in plan.blocks:
            _sum_up(block)


def _parts(atom: _Atom, count: int) -> Iterator[_Atom]:
    """About `count` parts of an atom, cut at blanks where there are some."""
    text, glue, start = atom.text, atom.glue, 0
    step = max(1, math.ceil(len(text) / max(2, count)))
    while start < len(text):
        end = min(len(text), start + step)
        if end < len(text):
            blank = text.rfind(" ", start + step // 2, end + 1)
            if blank > start:
                end = blank
            while end - start > 1 and unicodedata.category(text[end])[0] == "M":  # an accent stays with its letter
                end -= 1
        part = text[start:end].rstrip()
        if part.strip():
            yield _Atom(part, glue, atom.repeatable)
        start = end
        glue = ""
        while start < len(text) and text[start] == " ":
            start, glue = start + 1, " "


def _sum_up(group: _Group) -> int:
    group.weight = sum(child.weight if isinstance(child, _Atom) else _sum_up(child) for child in group.children)
    return group.weight


class _Packer:
    """Fills one piece after the other."""

    def __init__(self, room: int, overlap: int) -> None:
        self.texts: list[str] = []
        self._room = room
        self._overlap = overlap
        self._atoms: list[_Atom] = []
        self._weight = 0
        self._repeated = 0  # how many of the atoms stand in the piece before as well
        self._header: _Atom | None = None

    def place(self, node: _Atom | _Group) -> None:
        if self._weight + node.weight <= self._room:
            self._append(node)
        elif isinstance(node, _Atom) or (node.weight <= self._room and 2 * self._weight >= self._room):
            self.flush(node.weight)
            self._append(node)
        else:
            for number, child in enumerate(node.children):
                self.place(child)
                if number == 0 and node.header:
                    self._header = node.header
            if node.header:
                self._header = None

    def flush(self, following: int = 0) -> None:
        """Ends the piece, and begins the next with what is to be repeated if `following` still fits."""
        if len(self._atoms) > self._repeated:
            parts = [self._atoms[0].text]
            for atom in self._atoms[1:]:
                parts += (atom.glue, atom.text)
            self.texts.append("".join(parts))
        repeated = [self._header] if self._header else self._tail(following)
        if sum(atom.weight for atom in repeated) + following > self._room:
            repeated = []
        self._atoms, self._weight, self._repeated = list(repeated), sum(atom.weight for atom in repeated), len(repeated)

    def _tail(self, following: int) -> list[_Atom]:
        """The last sentences, within the overlap, but never all that is new in the piece."""
        tail: list[_Atom] = []
        weight = 0
        for atom in reversed(self._atoms[self._repeated + 1 :]):
            weight += atom.weight
            if not atom.repeatable or weight > self._overlap or weight + following > self._room:
                break
            tail.insert(0, atom)
        return tail

    def _append(self, node: _Atom | _Group) -> None:
        self._atoms.extend(node.atoms())
        self._weight += node.weight


def _pack(blocks: Sequence[_Group], room: int, overlap: int) -> list[str]:
    packer = _Packer(room, overlap)
    for block in blocks:
        packer.place(block)
    packer.flush()
    return packer.texts


def _over_budget(title: str, plans: Sequence[_Plan], max_tokens: int, count_tokens: CountTokens) -> list[_Plan]:
    """The sections of which a piece has too many tokens after all, their room lessened by the excess.

    That happens only with tokenizers for which a text has more tokens than its parts have together.
    """
    counts = iter(count_tokens([embedding_text(title, plan.path, text) for plan in plans for text in plan.texts]))
    over = []
    for plan in plans:
        excess = max(next(counts) for _ in plan.texts) - max_tokens
        if excess > 0:
            plan.room = max(1, plan.room - excess)
            over.append(plan)
    return over
