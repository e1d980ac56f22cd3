"""Fills pieces with what was laid out, keeping together what belongs together as far as the room allows."""

from __future__ import annotations

from collections.abc import Sequence

from services.retriever.layout import Atom, Group


class _Packer:
    """Fills one piece after the other."""

    def __init__(self, room: int, overlap: int) -> None:
        self.texts: list[str] = []
        self._room = room
        self._overlap = overlap
        self._atoms: list[Atom] = []
        self._weight = 0
        self._repeated = 0  # how many of the atoms stand in the piece before as well
        self._header: Atom | None = None

    def place(self, node: Atom | Group) -> None:
        if self._weight + node.weight <= self._room:
            self._append(node)
        elif isinstance(node, Atom) or (node.weight <= self._room and 2 * self._weight >= self._room):
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

    def _tail(self, following: int) -> list[Atom]:
        """The last sentences, within the overlap, but never all that is new in the piece."""
        tail: list[Atom] = []
        weight = 0
        for atom in reversed(self._atoms[self._repeated + 1 :]):
            weight += atom.weight
            if not atom.repeatable or weight > self._overlap or weight + following > self._room:
                break
            tail.insert(0, atom)
        return tail

    def _append(self, node: Atom | Group) -> None:
        self._atoms.extend(node.atoms())
        self._weight += node.weight


def pack(blocks: Sequence[Group], room: int, overlap: int) -> list[str]:
    packer = _Packer(room, overlap)
    for block in blocks:
        packer.place(block)
    packer.flush()
    return packer.texts
