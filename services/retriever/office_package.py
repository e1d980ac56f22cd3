"""Looks into a DOCX or PPTX before any library does: a ZIP of XML files that is what it says it is, or a clear reason why not.

Everything that a ZIP claims about itself is checked by unpacking it piece by piece, so that a bomb is noticed before it has gone off. XML
with a document type is refused, as the standard has it (ECMA-376 part 2, 10.1.4), which leaves entities no place to be declared.
"""

from __future__ import annotations

import io
import zipfile
import zlib

from services.retriever.structure import DocumentEncrypted, DocumentTooLarge, DocumentUnreadable

MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 512 << 20
MAX_XML_BYTES = 64 << 20
"""Of all XML together: as a tree it takes some ten times as much."""
MAX_RATIO = 250
"""Of unpacked to packed, where more than `_RATIO_FROM_BYTES` come out. What Office writes stays below 50; deflate can do 1,032."""
_RATIO_FROM_BYTES = 16 << 20
_PART = 1 << 20
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DOCTYPES = tuple("<!DOCTYPE".encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
_ENCRYPTED_FLAG = 0x1


def check_package(content: bytes, kind: str, main_part: str) -> None:
    """Raises `DocumentEncrypted`, `DocumentTooLarge` and `DocumentUnreadable`; `kind` is what a person calls it: "Word document"."""
    if content.startswith(_OLE):
        # What Office encrypts and what it wrote before 2007 lie in the same container; the name of this stream tells them apart.
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise DocumentEncrypted(f"The {kind} is locked with a password. Save it without one.")
        raise DocumentUnreadable(f"This is not a {kind} of 2007 or later, but the format before. Save it anew.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            _check(package, len(content), kind, main_part)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as exc:
        raise DocumentUnreadable(f"The {kind} is damaged, or is none.") from exc


def _check(package: zipfile.ZipFile, size: int, kind: str, main_part: str) -> None:
    entries = package.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DocumentTooLarge(f"The {kind} holds {len(entries):,} files. At most {MAX_ENTRIES:,} are read.")
    names = {entry.filename for entry in entries}
    if len(names) < len(entries):
        raise DocumentUnreadable(f"The {kind} holds two files of the same name.")
    if main_part not in names:
        raise DocumentUnreadable(f"The {kind} is damaged, or is none: it holds no `{main_part}`.")
    for name in names:
        if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
            raise DocumentUnreadable(f"The {kind} holds a file whose name leads out of it.")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise _too_much(kind, MAX_UNPACKED_BYTES)
    unpacked = xml = 0
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED_FLAG:
            raise DocumentEncrypted(f"The {kind} is locked with a password. Save it without one.")
        is_xml = entry.filename.lower().endswith((".xml", ".rels", ".vml"))
        tail = b""
        with package.open(entry) as file:
            while part := file.read(_PART):
                unpacked += len(part)
                xml += len(part) * is_xml
                if unpacked > MAX_UNPACKED_BYTES or xml > MAX_XML_BYTES:
                    raise _too_much(kind, MAX_XML_BYTES if is_xml else MAX_UNPACKED_BYTES)
                if unpacked > _RATIO_FROM_BYTES and unpacked > MAX_RATIO * size:
                    raise DocumentTooLarge(f"The {kind} unpacks to more than {MAX_RATIO} times its size, as only a ZIP bomb does.")
                if is_xml and any(doctype in tail + part for doctype in _DOCTYPES):
                    raise DocumentUnreadable(f"The {kind} declares a document type in its XML, which is not allowed in one.")
                tail = part[-32:]


def _too_much(kind: str, limit: int) -> DocumentTooLarge:
    return DocumentTooLarge(f"The {kind} unpacks to more than {limit >> 20} MiB, the most that is read.")
