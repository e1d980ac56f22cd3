"""Bytes to clean text, for every reader; and plain text to paragraphs.

Text that is not valid in its encoding is refused with the place of the first wrong byte: replacing bytes would put words
into answers that nobody wrote. Characters that a person does not see but a model does are removed (`clean`).
"""

from __future__ import annotations

import codecs
import re
from itertools import pairwise

from services.retriever.structure import DocumentUnreadable, Items, Outline, Rows, StructuredDocument

# Controls except tab and line feed; soft hyphen; zero-width space and joiners of words; marks and overrides of direction
# (https://trojansource.codes); lone surrogates; tag characters and the variation selectors beyond the first sixteen, which
# can spell hidden text. The joiners U+200C and U+200D stay: Persian and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
_BOMS = (
    ("utf-8", codecs.BOM_UTF8),
    ("utf-32", codecs.BOM_UTF32_LE),
    ("utf-32", codecs.BOM_UTF32_BE),
    ("utf-16", codecs.BOM_UTF16_LE),
    ("utf-16", codecs.BOM_UTF16_BE),
)
# A page of text has no such character; a picture or an archive has one in every hundred bytes and more.
_MAX_SHARE_OF_CONTROLS = 0.01

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_BULLET = re.compile(r"[ \t]{0,8}(?:[-*+•·–]|\(?[0-9]{1,4}[.)]|\(?[a-zA-Z][.)])[ \t]+\S")
# A line at least this long is taken to have been broken by an editor, not by its author.
_WRAPPED_LINE_CHARS = 60


def decode(content: bytes, declared: str | None = None) -> str:
    """The text of the bytes: by their byte order mark, else as declared, else UTF-8. Cleaned.

    Raises DocumentUnreadable for bytes that are not valid there, an unknown encoding, and binary content.
    """
    encoding = next((name for name, bom in _BOMS if content.startswith(bom)), None) or declared or "utf-8"
    try:
        text = str(content, encoding)
    except LookupError as exc:
        raise DocumentUnreadable(f"The document declares the encoding {encoding[:40]!r}, which is not known.") from exc
    except UnicodeError as exc:
        place = f" at byte {exc.start:,}" if isinstance(exc, UnicodeDecodeError) else ""
        raise DocumentUnreadable(f"The document is not valid {encoding.upper()}{place}. Save it as UTF-8.") from exc
    controls = sum(text.count(c) for c in "\x00\x01\x02\x03\x04\x05\x06\x07")
    if controls > max(16, _MAX_SHARE_OF_CONTROLS * len(text)):
        raise DocumentUnreadable("The document is binary, not text.")
    return clean(text)


def clean(text: str) -> str:
    """The text with `\\n` at the end of every line and without characters that a person cannot see."""
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))


def read_text(content: bytes) -> StructuredDocument:
    """Plain text: its paragraphs, in one section at the top of the document. Headings are not guessed."""
    outline = Outline()
    for block in paragraphs(decode(content)):
        outline.block(block)
    return StructuredDocument(title="", sections=outline.finish())


def paragraphs(text: str) -> list[str]:
    """The blocks of a plain text, which blank lines separate: lists, indented lines as they are, and prose."""
    blocks: list[str] = []
    for part in _BLANK_LINES.split(text.strip("\n")):
        lines = [line.rstrip() for line in part.split("\n") if line.strip()]
        if not lines:
            continue
        bullets = sum(_BULLET.match(line) is not None for line in lines)
        if _BULLET.match(lines[0]) and (bullets > 1 or len(lines) == 1):
            blocks.append(Items("\n".join(_item_lines(lines))))
        elif len(lines) > 1 and all(line[0] in " \t" for line in lines):
            blocks.append(Rows("\n".join(lines)))
        else:
            blocks.append(_unwrapped(lines))
    return blocks


def _item_lines(lines: list[str]) -> list[str]:
    """Lines of a list with the bullets of its outermost items at the margin."""
    margin = min(len(line) - len(line.lstrip()) for line in lines if _BULLET.match(line))
    return [line[margin:] if _BULLET.match(line) else f"  {line.lstrip()}" for line in lines]


def _unwrapped(lines: list[str]) -> str:
    """One string; lines that an editor broke are joined."""
    joined = [" ".join(lines[0].split())]
    for before, line in pairwise(lines):
        if len(before) >= _WRAPPED_LINE_CHARS and line[0] not in " \t" and not _BULLET.match(line):
            joined.append(" " + " ".join(line.split()))
        else:
            joined.append("\n" + " ".join(line.split()))
    return "".join(joined)
