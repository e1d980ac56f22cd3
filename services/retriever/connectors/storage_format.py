"""Confluence's storage format (XHTML with elements of its own) to HTML that `html_reader` reads. Pure.

https://confluence.atlassian.com/doc/confluence-storage-format-790796544.html. Macros become what a reader sees of them: code its lines,
panels and expands their title and text, links and pictures their words; what only arranges or is computed (a table of contents, lists of
children, reports) goes. Headings get the ids that Confluence's editor gives them, so that a link to one opens the page there.

The parser resolves no entity but the named ones of HTML, loads nothing, and a text that is not well-formed is read as HTML instead.
"""

from __future__ import annotations

import re
from html import escape
from html.entities import html5

from lxml import etree

MAX_CHARS = 8 << 20
MAX_DEPTH = 100
AC = "{urn:corella:ac}"
RI = "{urn:corella:ri}"
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_OWN = frozenset(("amp", "lt", "gt", "quot", "apos"))
_VOID = frozenset(("br", "hr", "img", "col"))
_PASSED = frozenset(
    """
    a abbr b big blockquote br caption cite code col colgroup dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q s samp
    small span strong sub sup table tbody td tfoot th thead time tr tt u ul var
    """.split()  # noqa: SIM905
)
_DROPPED_MACROS = frozenset(
    """
    toc toc-zone children pagetree recently-updated contentbylabel livesearch attachments gallery profile-picture anchor
    create-from-template change-history page-index space-attachments blog-posts listlabels popular-labels related-labels tasks-report-macro
    """.split()  # noqa: SIM905
)
_CODE_MACROS = frozenset(("code", "noformat"))
_KEPT_ATTRIBUTES = frozenset(("href", "id", "colspan", "rowspan", "start", "alt", "datetime", "name"))


def page_html(storage: str, title: str) -> bytes:
    """The page as a small HTML document in UTF-8. A text longer than `MAX_CHARS` is cut."""
    body = _body(storage[:MAX_CHARS])
    return f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{escape(title)}</title></head><body>{body}</body></html>'.encode(
        "utf-8", errors="replace"
    )


def _body(storage: str) -> str:
    root = _parsed(storage)
    if root is None:
        return escape(re.sub(r"<[^>]{0,1000}>", " ", storage))
    writer = _Writer()
    writer.inside(root, 0)
    return "".join(writer.parts)


def _parsed(storage: str) -> etree._Element | None:
    named = _without_entities(storage)
    wrapped = f'<body xmlns:ac="{AC[1:-1]}" xmlns:ri="{RI[1:-1]}">{named}</body>'
    # A document type cannot stand within an element, so no entity can be declared; `recover` reads on after the error.
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True,
        encoding="utf-8",
    )  # fmt: skip
    try:
        return etree.fromstring(_without_controls(wrapped).encode("utf-8", errors="replace"), parser)
    except etree.XMLSyntaxError:
        return None


def _without_entities(storage: str) -> str:
    """The text with HTML's named entities as the characters they stand for, except in CDATA, where they are none."""
    parts: list[str] = []
    place = 0
    while (start := storage.find("<![CDATA[", place)) >= 0:
        end = storage.find("]]>", start)
        end = len(storage) if end < 0 else end + 3
        parts += [_ENTITY.sub(_entity, storage[place:start]), storage[start:end]]
        place = end
    return "".join([*parts, _ENTITY.sub(_entity, storage[place:])])


def _entity(found: re.Match[str]) -> str:
    name = found.group(1)
    if name in _XML_OWN:
        return found.group(0)
    return escape(html5.get(f"{name};", "")) or f"&amp;{name};"


def _without_controls(text: str) -> str:
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text)


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._ids: dict[str, int] = {}

    def inside(self, element: etree._Element, depth: int) -> None:
        """Writes the text and the children of an element."""
        self._text(element.text)
        for child in element:
            self._element(child, depth + 1)
            self._text(child.tail)

    def _element(self, element: etree._Element, depth: int) -> None:
        tag = element.tag
        if not isinstance(tag, str):
            return
        if depth > MAX_DEPTH:
            self._text(" ".join(element.itertext()))
        elif tag in _PASSED:
            self._html(element, tag, depth)
        elif tag in (f"{AC}structured-macro", f"{AC}macro"):
            self._macro(element, depth)
        elif tag == f"{AC}link":
            self._link(element, depth)
        elif tag == f"{AC}image":
            self._text(element.get(f"{AC}alt") or element.get(f"{AC}title") or "")
        elif tag == f"{AC}task-list":
            self._tagged("ul", element, depth)
        elif tag == f"{AC}task":
            self._task(element, depth)
        elif tag == f"{AC}emoticon":
            self._text(element.get(f"{AC}emoji-fallback") or "")
        elif tag in (f"{AC}placeholder", f"{AC}parameter", f"{AC}adf-fallback", "script", "style"):
            return  # said to the author; a macro's setting; what is said once more in `adf-content`; no text
        elif tag.startswith(RI):
            self._text(element.get(f"{RI}content-title") or element.get(f"{RI}filename") or element.get(f"{RI}value") or "")
        else:
            self.inside(element, depth)

    def _html(self, element: etree._Element, tag: str, depth: int) -> None:
        attributes = {name: value for name, value in element.attrib.items() if name in _KEPT_ATTRIBUTES}
        if tag[0] == "h" and tag[1:].isdigit():
            attributes["id"] = self._heading_id("".join(element.itertext()))
        self.parts.append("<" + tag + "".join(f' {name}="{escape(value)}"' for name, value in attributes.items()) + ">")
        if tag not in _VOID:
            self.inside(element, depth)
            self.parts.append(f"</{tag}>")

    def _heading_id(self, text: str) -> str:
        """As Confluence's editor makes it: blanks become `-`, a second of the same name gets `.1`."""
        name = re.sub(r"\s+", "-", text.strip())[:200]
        count = self._ids.get(name, 0)
        self._ids[name] = count + 1
        return f"{name}.{count}" if count else name

    def _macro(self, element: etree._Element, depth: int) -> None:
        name = element.get(f"{AC}name") or ""
        if name in _DROPPED_MACROS:
            return
        parameters = {each.get(f"{AC}name") or "": "".join(each.itertext()) for each in element.iterfind(f"{AC}parameter")}
        plain = element.find(f"{AC}plain-text-body")
        rich = element.find(f"{AC}rich-text-body")
        title = parameters.get("title", "").strip()
        if title:
            self.parts.append(f"<p>{escape(title)}</p>")
        if plain is not None:
            tag = "pre" if name in _CODE_MACROS else "p"
            self.parts.append(f"<{tag}>{escape(''.join(plain.itertext()))}</{tag}>")
        if rich is not None:
            self._tagged("div", rich, depth)
        if plain is None and rich is None:
            # What a macro without a body shows, where it is said at all: a status, a ticket, a picture's link.
            self._text(" " + ((title and "") or parameters.get("key") or parameters.get("url") or parameters.get("name") or "") + " ")

    def _link(self, element: etree._Element, depth: int) -> None:
        body = element.find(f"{AC}link-body")
        plain = element.find(f"{AC}plain-text-link-body")
        if body is not None:
            self.inside(body, depth)
        elif plain is not None:
            self._text("".join(plain.itertext()))
        else:
            for child in element:
                self._element(child, depth + 1)
            if not len(element):
                self._text(element.get(f"{AC}anchor") or "")

    def _task(self, element: etree._Element, depth: int) -> None:
        body = element.find(f"{AC}task-body")
        state = (element.findtext(f"{AC}task-status") or "").strip().lower()
        self.parts.append(f"<li>{'[x]' if state == 'complete' else '[ ]'} ")
        if body is not None:
            self.inside(body, depth)
        self.parts.append("</li>")

    def _tagged(self, tag: str, element: etree._Element, depth: int) -> None:
        self.parts.append(f"<{tag}>")
        self.inside(element, depth)
        self.parts.append(f"</{tag}>")

    def _text(self, text: str | None) -> None:
        if text:
            self.parts.append(escape(text, quote=False))
