"""Cuts a document into pieces that fit the embedding model, along its structure.

A piece never crosses a heading, so that its citation opens the section it stands in. Within a section it ends, in this
order of preference, between blocks, between items or lines, between sentences, and, in a sentence that alone is over the
budget, between words and at last between characters. The end of a piece is repeated at the beginning of the next of the
same section, in whole sentences. Same document, limits and tokenizer: same pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from services.chassis.errors import InvalidArgument
from services.retriever.layout import Group, lay_out, parts_of, sum_up
from services.retriever.packing import pack
from services.retriever.structure import DocumentTooLarge, Piece, Section, StructuredDocument, clip

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
    plans = [_Plan(section, lay_out(section.blocks)) for section in _with_text(document.sections)]
    _weigh_all(document.title, plans, max_tokens, count_tokens)
    unfinished = plans
    for _ in range(_MAX_ROUNDS):
        _break_up(unfinished, count_tokens)
        for plan in unfinished:
            plan.texts = pack(plan.blocks, plan.room, overlap_tokens)
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
class _Plan:
    """How one section is being cut."""

    section: Section
    blocks: list[Group]
    path: tuple[str, ...] = ()
    room: int = 0
    """Tokens that the headings leave for the text."""
    texts: list[str] = field(default_factory=list)


def _with_text(sections: Sequence[Section]) -> Iterator[Section]:
    """Sections with blocks. A heading without a text of its own lives on in the paths below it; if there are none, it is the text."""
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        depth = len(section.heading_path)
        if any(block.strip() for block in section.blocks):
            yield section
        elif section.heading_path and (
            following is None or len(following.heading_path) <= depth or following.heading_path[:depth] != section.heading_path
        ):
            yield replace(section, blocks=section.heading_path[-1:])


def _weight(text: str, tokens: int) -> int:
    return max(tokens, math.ceil(len(text) / CHARS_PER_TOKEN))


def _weigh_all(title: str, plans: Sequence[_Plan], max_tokens: int, count_tokens: CountTokens) -> None:
    """Weighs every atom, and chooses for each section the longest of its heading paths that leaves half of the budget."""
    paths = {plan.section.heading_path for plan in plans}
    shortened = sorted({shorter for path in paths for shorter in (path, path[-1:])} | {()})
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
        broken: list[tuple[int, Group]] = []
        for room, group in work:
            if group.header and 3 * group.header.weight > room:
                group.header = None
            limit = room - group.header.weight if group.header else room
            stack = [group]
            while stack:
                parent = stack.pop()
                for i, child in enumerate(parent.children):
                    if isinstance(child, Group):
                        stack.append(child)
                    elif child.weight > limit and len(child.text) > 1:
                        parts = Group(list(parts_of(child, math.ceil(2 * child.weight / max(1, limit)))))
                        parent.children[i] = parts
                        broken.append((limit, parts))
        new = [atom for _, group in broken for atom in group.atoms()]
        for atom, tokens in zip(new, count_tokens([atom.text for atom in new]) if new else (), strict=True):
            atom.weight = _weight(atom.text, tokens)
        work = broken
    for plan in plans:
        for block in plan.blocks:
            sum_up(block)


def _over_budget(title: str, plans: Sequence[_Plan], max_tokens: int, count_tokens: CountTokens) -> list[_Plan]:
    """The sections of which a piece has too many tokens after all, their room lessened by the excess.

    That happens only with tokenizers for which a text has more tokens than its parts have together.
    """
    counts = iter(count_tokens([embedding_text(title, plan.path, text) for plan in plans for text in plan.texts]))
    over = []
    for plan in plans:
        excess = max((next(counts) for _ in plan.texts), default=0) - max_tokens
        if excess > 0:
            plan.room = max(1, plan.room - excess)
            over.append(plan)
    return over
