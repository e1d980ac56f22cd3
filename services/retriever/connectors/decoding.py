"""Takes off the compression of an HTTP answer, never more than is asked for: a small answer can stand for gigabytes."""

from __future__ import annotations

import zlib

ACCEPTED = "gzip, deflate"


class UnknownCoding(ValueError):
    """A coding that was not asked for, or content that is not in it."""


class Decoder:
    """Decodes one answer. Raises UnknownCoding."""

    def __init__(self, coding: str) -> None:
        plain = coding.strip().lower()
        if plain in ("", "identity"):
            self._zlib = None
        elif plain in ("gzip", "x-gzip"):
            self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)
        elif plain == "deflate":
            self._zlib = zlib.decompressobj()
        else:
            raise UnknownCoding(f"It is sent in the coding {coding[:40]!r}, which was not asked for.")

    def decode(self, part: bytes, most: int) -> bytes:
        """The next bytes, at most `most` + 1 of them; what is beyond is lost, since the caller then gives up."""
        if self._zlib is None:
            return part
        try:
            return self._zlib.decompress(part, most + 1)
        except zlib.error as exc:
            raise UnknownCoding("It cannot be decompressed.") from exc

    def finish(self) -> None:
        """Raises UnknownCoding when the content ends before its end."""
        if self._zlib is not None and not self._zlib.eof:
            raise UnknownCoding("It ends in the middle.")
