"""Jira's wiki markup to plain text: headings, emphasis, code, quotes, lists, tables, links, mentions. Pure.

https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all. The text is as `text_reader.paragraphs` reads it. Markup that
does not close is text. Every pattern here takes time in proportion to the text.
"""

from __future__ import annotations

import re

from services.retriever.connectors.plain_blocks import code, join, table

_FENCED = re.compile(r"(?<!\{)\{(code|noformat)(?::[^{}\n]{0,200})?\}(?!\})")
_HEADING = re.compile(r"[ \t]*h([1-6])\.[ \t]+(\S.*)")
_ITEM = re.compile(r"[ \t]*([*#-]{1,10})[ \t]+(\S.*)")
_ROW = re.compile(r"[ \t]*\|\|?.*\|[ \t]*")
_DROPPED = re.compile(r"\{(?:quote|panel|color|anchor|expand|info|note|tip|warning|toc|section|column)(?::[^{}\n]{0,200})?\}")
_LINK = re.compile(r"\[(?:([^\[\]|\n]{1,300})\|)?([^\[\]|\n]{1,2000})(?:\|[^\[\]|\n]{0,100})?\]")
_IMAGE = re.compile(r"!([^!\s|]{1,200}\.[A-Za-z]{2,5})(?:\|[^!\n]{0,200})?!")
_EMPHASIS = re.compile(r"(?<![\w*_+^~?-])(\*|_|\+|\^|~|\?\?|-)(?=\S)([^\n]{1,300}?)(?<=\S)\1(?![\w*_+^~?-])")
_MONOSPACE = re.compile(r"\{\{([^{}\n]{1,300})\}\}")
_ESCAPED = re.compile(r"\\([{}\[\]*_+^~?!|-])")
_ASIDE = 0xE000
_SET_ASIDE = re.compile(f"[{chr(_ASIDE)}-{chr(_ASIDE + 127)}]")
_BQ = re.compile(r"[ \t]*bq\.[ \t]+")
_RULE = re.compile(r"[ \t]*-{4,}[ \t]*")


def wiki_text(markup: str) -> str:
    """The text."""
    blocks: list[str] = []
    place = 0
    for opened, closed in _fences(markup):
        blocks += [_prose(markup[place : opened.start()]), code(markup[opened.end() : closed.start()])]
        place = closed.end()
    return join([*blocks, _prose(markup[place:])])


def _fences(markup: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    """Where code begins and ends; code that is not closed is none."""
    pairs: list[tuple[re.Match[str], re.Match[str]]] = []
    opened: re.Match[str] | None = None
    for fence in _FENCED.finditer(markup):
        if opened is None:
            opened = fence
        elif fence.group(1) == opened.group(1):
            pairs.append((opened, fence))
            opened = None
    return pairs


def _prose(markup: str) -> str:
    lines: list[str] = []
    rows: list[list[str]] = []
    in_list = False

    def end_table() -> None:
        if rows:
            lines.extend(["", table(rows), ""])
            rows.clear()

    for written in _DROPPED.sub("", markup).replace("\r\n", "\n").split("\n"):
        if _ROW.fullmatch(written):
            rows.append([_line(cell) for cell in _cells(written)])
            continue
        end_table()
        heading, entry = _HEADING.fullmatch(written), _ITEM.fullmatch(written)
        if heading:
            lines += ["", f"{'#' * int(heading.group(1))} {_line(heading.group(2))}", ""]
        elif entry:
            marks = entry.group(1)
            if not in_list:
                lines.append("")
            lines.append(f"{'  ' * (len(marks) - 1)}{'1.' if marks.endswith('#') else '-'} {_line(entry.group(2))}")
        elif not _RULE.fullmatch(written):
            if in_list and written.strip():
                lines.append("")
            lines.append(_line(_BQ.sub("", written)).rstrip())
        in_list = entry is not None
    end_table()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _cells(row: str) -> list[str]:
    """A `|` within a link does not part cells."""
    held = _LINK.sub(lambda found: found.group(0).replace("|", "\x00"), row.strip())
    return [cell.replace("\x00", "|").strip() for cell in re.split(r"\|\|?", held.strip("|"))]


def _line(text: str) -> str:
    # An escaped sign is set aside as a character of private use, so that it marks nothing.
    text = _ESCAPED.sub(lambda found: chr(_ASIDE + ord(found.group(1))), text)
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(_link, text)
    text = _MONOSPACE.sub(r"`\1`", text)
    for _ in range(2):  # bold within italics, and the other way round
        text = _EMPHASIS.sub(r"\2", text)
    return _SET_ASIDE.sub(lambda found: chr(ord(found.group(0)) - _ASIDE), text).replace("\\\\", "\n")


def _link(found: re.Match[str]) -> str:
    label, target = found.group(1), found.group(2).strip()
    if target.startswith("~"):
        return "@" + target[1:].removeprefix("accountid:")
    if label:
        return f"{label.strip()} ({target})" if label.strip() != target else target
    if target.startswith(("http://", "https://", "mailto:", "#", "^", "ftp://")):
        return target.lstrip("#^")
    return found.group(0)  # brackets that are no link, as in code: a[0]
