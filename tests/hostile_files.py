"""Documents that are out to hurt whoever reads them, and the reason with which each must fail. Made on the spot, not kept.

    for file in hostile_files(): (folder / file.name).write_bytes(file.content)

Each takes its maker a fraction of a second and few megabytes; what it would take its reader is another matter.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

UNREADABLE = frozenset({"DOCUMENT_UNREADABLE"})
TOO_LARGE = frozenset({"DOCUMENT_TOO_LARGE"})
ENCRYPTED = frozenset({"DOCUMENT_ENCRYPTED"})
NO_TEXT = frozenset({"DOCUMENT_HAS_NO_TEXT"})
STOPPED = frozenset({"DOCUMENT_TAKES_TOO_LONG", "DOCUMENT_TAKES_TOO_MUCH_MEMORY", "DOCUMENT_BREAKS_ITS_READER"})
"""Which limit is met first depends on the machine and on the parser's version."""


@dataclass(frozen=True)
class HostileFile:
    """A file and the reasons with one of which it must fail."""

    name: str
    content: bytes
    reasons: frozenset[str]


def hostile_files() -> Iterator[HostileFile]:
    """All of them, one made after the other."""
    for name, (make, reasons) in _FILES.items():
        yield HostileFile(name, make(), reasons)


def hostile_file(name: str) -> HostileFile:
    """The one of that name."""
    make, reasons = _FILES[name]
    return HostileFile(name, make(), reasons)


def hostile_names() -> list[str]:
    """The names of all, without making them."""
    return list(_FILES)


def write_hostile_files(folder: Path) -> dict[str, frozenset[str]]:
    """Writes all into a folder, which it makes. Reasons by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in hostile_files():
        (folder / file.name).write_bytes(file.content)
    return {name: reasons for name, (_, reasons) in _FILES.items()}


def write_hostile_links(folder: Path, secret: Path) -> list[str]:
    """Links in a folder that lead out of it, to itself or to a device. None of them may be read; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    links = {"out.md": secret, "loop.md": folder / "loop.md", "device.txt": Path("/dev/zero"), "up": folder.parent}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    return list(links)


# PDF ----------------------------------------------------------------------------------------------------------------------------------


def pdf(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start))
    return out.getvalue()


def stream(content: bytes, entries: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


_CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
_ONE_PAGE = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
_PAGE = (
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R "
    b"/Resources << /Font << /F 5 0 R >> /XObject << /X0 6 0 R >> >> >>"
)
_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def page_with(content: bytes, entries: bytes = b"", *more: bytes) -> bytes:
    """A PDF of one page with that content; `more` are objects from 6 on."""
    return pdf(_CATALOG, _ONE_PAGE, _PAGE, stream(content, entries), _FONT, *more)


def _squeezed(pattern: bytes, size: int, times: int = 1) -> bytes:
    compressor = zlib.compressobj(9)
    part = pattern * max(1, (1 << 20) // len(pattern))
    packed = b"".join(compressor.compress(part) for _ in range(size >> 20)) + compressor.flush()
    for _ in range(times - 1):
        packed = zlib.compress(packed, 9)
    return packed


def _locked_pdf() -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, encrypt=StandardEncryption("secret", ownerPassword="owner", strength=128))
    canvas.drawString(72, 700, "nobody reads this")
    canvas.save()
    return out.getvalue()


def _forms_within_forms() -> bytes:
    """Ten forms, each of which draws the next thirty times: 30**10 texts."""
    forms = [
        stream(
            b"/X0 Do " * 30,
            b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources << /XObject << /X0 %d 0 R >> >>" % (number + 1),
        )
        for number in range(6, 15)
    ]
    last = stream(b"BT /F 12 Tf (x) Tj ET", b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources << /Font << /F 5 0 R >> >>")
    return page_with(b"/X0 Do", b"", *forms, last)


def _many_objects() -> bytes:
    """An object stream that says it holds two billion objects, in a file whose cross-references are a stream."""
    return pdf(_CATALOG, _ONE_PAGE, stream(b"1 0 " * 9, b"/Type /ObjStm /N 2000000000 /First 36"))


# Office -------------------------------------------------------------------------------------------------------------------------------

_TYPES = (
    b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    b'<Default Extension="xml" ContentType="application/xml"/><Override PartName="/%s" ContentType="%s"/></Types>'
)
_RELS = (
    b'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    b'<Relationship Id="rId1" Target="%s" '
    b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>'
)
_WORD = (b"word/document.xml", b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml")
_SHOW = (b"ppt/presentation.xml", b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml")
_W = b'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def package(main: bytes, kind: tuple[bytes, bytes] = _WORD, *more: tuple[str, bytes]) -> bytes:
    """An Office file with that main part."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES % kind)
        archive.writestr("_rels/.rels", _RELS % kind[0])
        archive.writestr(kind[0].decode(), main)
        for name, content in more:
            archive.writestr(name, content)
    return out.getvalue()


def word(body: bytes, doctype: bytes = b"") -> bytes:
    """The main part of a Word document."""
    return b'<?xml version="1.0"?>' + doctype + b"<w:document " + _W + b"><w:body>" + body + b"</w:body></w:document>"


_HELLO = b"<w:p><w:r><w:t>hello</w:t></w:r></w:p>"
_LAUGHS = (
    b'<!DOCTYPE l [<!ENTITY a "ha">' + b"".join(b'<!ENTITY %c "%s">' % (97 + n, b"&%c;" % (96 + n) * 20) for n in range(1, 12)) + b"]>"
)
_EXTERNAL = b'<!DOCTYPE l [<!ENTITY l SYSTEM "file:///etc/passwd">]>'


def _lying_zip() -> bytes:
    """A member of 300 MiB that the archive says has a hundred bytes."""
    size = 300 << 20
    packed = package(word(_HELLO), _WORD, ("word/big.xml", b"\0" * 100))
    bomb = package(word(_HELLO), _WORD, ("word/big.xml", bytes(size)))
    assert len(packed) < len(bomb)
    return bomb.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))


def _many_members() -> bytes:
    return package(word(_HELLO), _WORD, *((f"word/media/{number}.bin", b"") for number in range(10_001)))


def _nested(depth: int) -> bytes:
    return package(word(b"<w:sdt><w:sdtContent>" * depth + _HELLO + b"</w:sdtContent></w:sdt>" * depth))


def _two_of_a_name() -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return package(word(_HELLO), _WORD, ("word/document.xml", word(b"")))


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)

_FILES: dict[str, tuple[Callable[[], bytes], frozenset[str]]] = {
    "locked.pdf": (_locked_pdf, ENCRYPTED),
    "scan.pdf": (lambda: page_with(b"0 0 600 800 re f"), NO_TEXT),
    "garbage.pdf": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 40, UNREADABLE),
    "not-a-pdf.pdf": (lambda: b"<html><body>Log in first.</body></html>", UNREADABLE),
    "page-tree-of-itself.pdf": (
        lambda: pdf(_CATALOG, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 /Parent 2 0 R >>"),
        UNREADABLE | NO_TEXT,
    ),
    "two-billion-pages.pdf": (
        lambda: pdf(_CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>", _PAGE),
        UNREADABLE | NO_TEXT | TOO_LARGE,
    ),
    "two-billion-objects.pdf": (_many_objects, UNREADABLE | NO_TEXT),
    "stream-bomb.pdf": (lambda: page_with(_squeezed(b"BT /F 9 Tf (bomb) Tj ET ", 150 << 20), b"/Filter /FlateDecode"), STOPPED | TOO_LARGE),
    "stream-in-stream-bomb.pdf": (
        lambda: page_with(_squeezed(b"BT /F 9 Tf (bomb) Tj ET ", 150 << 20, times=2), b"/Filter [/FlateDecode /FlateDecode]"),
        STOPPED | TOO_LARGE,
    ),
    "forms-within-forms.pdf": (_forms_within_forms, STOPPED | NO_TEXT),
    "deep-arrays.pdf": (lambda: pdf(b"<< /Type /Catalog /Pages " + b"[" * 200_000 + b"]" * 200_000 + b" >>"), UNREADABLE),
    "zip-bomb.docx": (lambda: package(word(b"<w:p/>" * (12 << 20))), TOO_LARGE),
    "zip-bomb.pptx": (lambda: package(bytes(70 << 20), _SHOW), TOO_LARGE),
    "picture-bomb.docx": (lambda: package(word(_HELLO), _WORD, ("word/media/image1.png", bytes(100 << 20))), TOO_LARGE),
    "lying-zip.docx": (_lying_zip, UNREADABLE),
    "many-members.docx": (_many_members, TOO_LARGE),
    "two-of-a-name.docx": (_two_of_a_name, UNREADABLE),
    "billion-laughs.docx": (lambda: package(word(b"<w:p><w:r><w:t>&l;</w:t></w:r></w:p>", _LAUGHS)), UNREADABLE),
    "billion-laughs.pptx": (lambda: package(b'<?xml version="1.0"?>' + _LAUGHS + b"<p>&l;</p>", _SHOW), UNREADABLE),
    "external-entity.docx": (lambda: package(word(b"<w:p><w:r><w:t>&l;</w:t></w:r></w:p>", _EXTERNAL)), UNREADABLE),
    "path-traversal.docx": (lambda: package(word(_HELLO), _WORD, ("../../../tmp/evil.xml", b"<x/>")), UNREADABLE),
    "deep.docx": (lambda: _nested(100_000), UNREADABLE),
    "old-format.docx": (lambda: _OLE, UNREADABLE),
    "locked.docx": (lambda: _OLE + "EncryptedPackage".encode("utf-16-le"), ENCRYPTED),
    "not-a-zip.pptx": (lambda: b"PK\x03\x04 but no more", UNREADABLE),
    "cut-off.docx": (lambda: package(word(_HELLO * 1000))[:-200], UNREADABLE),
    "a-presentation.docx": (lambda: package(b"<x/>", _SHOW), UNREADABLE),
    "no-slides.pptx": (lambda: package(b"<x/>", _SHOW), UNREADABLE),
    "deep.html": (lambda: b"<div>" * 200_000 + b"x", UNREADABLE),
    "attributes.html": (lambda: b"<p " + b" ".join(b"a%d=1" % n for n in range(50_000)) + b">x</p>", UNREADABLE),
    "deep-quotes.md": (lambda: b">" * 50_000 + b" x", UNREADABLE),
    "deep-list.md": (lambda: b"\n".join(b"  " * n + b"- x" for n in range(200)), UNREADABLE),
    "deep.json": (lambda: b'{"key":"A-1","summary":"x","description":' + b"[" * 500_000 + b"]" * 500_000 + b"}", UNREADABLE),
    "long-line.txt": (lambda: b"word " * (4 << 20), TOO_LARGE),
    "long-line.md": (lambda: b"*a **b " * (2 << 20), TOO_LARGE),
    "long-field.csv": (lambda: b"name,text\nA," + b"x" * (3 << 20) + b"\n", TOO_LARGE),
    "open-quote.csv": (lambda: b'name,text\nA,"' + b"x,y\n" * (1 << 19), TOO_LARGE),
    "many-columns.csv": (lambda: b"," * 200_000 + b"x\n", TOO_LARGE),
    "binary.md": (lambda: bytes(range(256)) * 100, UNREADABLE),
    "latin.csv": (lambda: "Größe,Preis\nüber,1\n".encode("latin-1"), UNREADABLE),
    "empty.md": (lambda: b"", NO_TEXT),
    "invisible.txt": (lambda: "\u200b\u202e\u2060".encode() * 50, NO_TEXT),
}  # fmt: skip
