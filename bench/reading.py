"""Reading documents in a confined child beside reading them in this process: `python -m bench.reading` (one minute).

Takes one document of each type from `samples/`, and any PDFs named on the command line, for which it also compares PDFium with pdfplumber.
The quickest of rounds that alternate between the two, as the timeit module advises: what else the machine does is not measured. Writes
`bench/results/reading.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pdfplumber
import pypdfium2

from services.retriever.parsing_sandbox import ParsingSandbox
from services.retriever.readers import prepare_readers, read_document
from services.retriever.settings import ParsingSettings

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = (
    "pages/policies/warranty.md", "pages/company/price-list.html", "tickets/SUP-1041.json", "files/lithium-cells-safety-sheet.pdf",
    "files/site-survey.docx", "files/partner-training.pptx", "files/spare-parts.csv",
)  # fmt: skip
ROUNDS = 40


async def measure(paths: list[Path]) -> list[str]:
    """The lines of the report."""
    prepare_readers()
    sandbox = ParsingSandbox(ParsingSettings())
    began = time.perf_counter()
    await sandbox.read(b"x", "text/plain", "x.txt")
    lines = [f"Starting a child, with its first document: {time.perf_counter() - began:.2f} s. Confinement: {sandbox.confinement}.", ""]
    lines += ["| document | bytes | here, ms | in the child, ms | more, ms |", "|---|---|---|---|---|"]
    for path in paths:
        content = path.read_bytes()
        here, there = [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            read_document(content, "", path.name)
            middle = time.perf_counter()
            await sandbox.read(content, "", path.name)
            here.append(1e3 * (middle - began))
            there.append(1e3 * (time.perf_counter() - middle))
        lines.append(f"| {path.name} | {len(content):,} | {min(here):.2f} | {min(there):.2f} | {min(there) - min(here):.2f} |")
    await sandbox.close()
    return lines


def engines(paths: list[Path]) -> list[str]:
    """PDFium and pdfplumber on PDFs, milliseconds a page."""
    lines = ["", "| PDF | pages | PDFium: text | pdfplumber: text | pdfplumber: tables |", "|---|---|---|---|---|"]
    for path in paths:
        content = path.read_bytes()
        pages = len(pypdfium2.PdfDocument(content))
        each = [1e3 * _quickest(work, content) / pages for work in (_pdfium_text, _plumber_text, _plumber_tables)]
        lines.append(f"| {path.name} | {pages} | " + " | ".join(f"{milliseconds:.1f} ms a page" for milliseconds in each) + " |")
    return lines


def _pdfium_text(content: bytes) -> None:
    for page in pypdfium2.PdfDocument(content):
        page.get_textpage().get_text_range()


def _plumber_text(content: bytes) -> None:
    for page in pdfplumber.open(io.BytesIO(content)).pages:
        page.extract_text()


def _plumber_tables(content: bytes) -> None:
    for page in pdfplumber.open(io.BytesIO(content)).pages:
        page.find_tables()


def _quickest(work: Callable[[bytes], None], content: bytes) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work(content)
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pdfs", nargs="*", type=Path, help="PDFs to read besides the sample")
    pdfs = [ROOT / "samples/files/lithium-cells-safety-sheet.pdf", *parser.parse_args().pdfs]
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    report = [
        "# Reading documents in a confined child",
        "",
        f"{when}, {platform.machine()}, {os.cpu_count()} cores, quickest of {ROUNDS} rounds.",
        "",
    ]
    report += asyncio.run(measure([*(ROOT / "samples" / name for name in SAMPLES), *pdfs[1:]])) + engines(pdfs)
    text = "\n".join(report) + "\n"
    print(text)
    (ROOT / "bench/results/reading.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
