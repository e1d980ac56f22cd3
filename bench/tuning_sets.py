"""Makes files of examples for `corella datasets create` from sets with gold: `python -m bench.tuning_sets KIND FOLDER OUTPUT …`.

    samples FOLDER OUT.jsonl --corpus NAME           the sample questions; every second one of its kind is held back
    squad   FOLDER OUT.jsonl --corpus NAME --pages P  SQuAD 2.0 in BEIR form; its paragraphs go to P as pages to ingest
    e2e     FOLDER OUT.jsonl                          E2E NLG: attributes of a venue, a house style to learn

Held-back questions of SQuAD are about other articles, and held-back venues have other attributes, than those trained on.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)
Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False)]
Output = Annotated[Path, typer.Argument(dir_okay=False)]
SEED = 13


@app.command()
def samples(folder: Folder, output: Output, corpus: str = "default") -> None:
    """The sample questions. Follow-ups need their history and are left out."""
    seen: dict[tuple[str, bool], int] = defaultdict(int)
    lines = []
    for question in _read(folder / "questions.jsonl"):
        if question["history"]:
            continue
        kind = (question["kind"], question["answerable"])
        seen[kind] += 1
        line: dict[str, Any] = {
            "id": question["id"],
            "question": question["question"],
            "corpus": f"corpora/{corpus}",
            "answerable": question["answerable"],
            "concept": question["kind"],
            "held_back": seen[kind] % 2 == 0,
            # Tables are where a small model goes wrong: the value of the next row looks as good.
            "corner_case": question["kind"] == "table",
        }
        if question["answerable"]:
            sources = [_source(folder, source) for source in question["sources"]]
            line |= {"answer": question["answer"], "answers": question["answer_aliases"], "sources": sources}
        lines.append(line)
    _write(output, lines)


@app.command()
def squad(  # noqa: PLR0917 a command's options are its function's parameters
    folder: Folder, output: Output, pages: Annotated[Path, typer.Option()], corpus: str = "squad", train: int = 240, held_back: int = 100
) -> None:
    """SQuAD 2.0: a third of the questions have no answer in their paragraph. Every fifth article is held back."""
    paragraphs = {row["_id"]: row for row in _read(folder / "corpus.jsonl")}
    pages.mkdir(parents=True, exist_ok=True)
    for row in paragraphs.values():
        (pages / f"{row['_id']}.md").write_text(f"# {row['title']}\n\n{row['text']}\n", encoding="utf-8")
    articles = sorted({row["title"] for row in paragraphs.values()})
    held = set(articles[::5])
    rng = random.Random(SEED)
    rows = list(_read(folder / "queries.jsonl"))
    rng.shuffle(rows)
    lines = []
    for held_out, wanted in ((False, train), (True, held_back)):
        for answerable, count in ((True, wanted * 2 // 3), (False, wanted - wanted * 2 // 3)):
            chosen = (
                row
                for row in rows
                if row["metadata"]["is_impossible"] != answerable
                and (paragraphs[row["metadata"]["paragraph_id"]]["title"] in held) == held_out
            )
            for row in islice(chosen, count):
                paragraph = row["metadata"]["paragraph_id"]
                line = {
                    "id": row["_id"],
                    "question": row["text"],
                    "corpus": f"corpora/{corpus}",
                    "answerable": answerable,
                    "group": paragraphs[paragraph]["title"],
                    "concept": paragraphs[paragraph]["title"],
                    "held_back": held_out,
                }
                if answerable:
                    first, *others = row["metadata"]["answers"]
                    line |= {"answer": first, "answers": sorted(set(others) - {first}), "sources": [f"{paragraph}.md"]}
                lines.append(line)
    _write(output, lines)


@app.command()
def e2e(folder: Folder, output: Output, train: int = 300, held_back: int = 60) -> None:
    """E2E NLG: attributes to one or two sentences. All texts for the same attributes are references of a held-back one."""
    texts: dict[str, list[str]] = defaultdict(list)
    instruction = ""
    for row in _read(folder / "train.jsonl"):
        texts[row["input"]].append(row["output"])
        instruction = row["instruction"]
    inputs = sorted(texts)
    random.Random(SEED).shuffle(inputs)
    lines = []
    for number, given in enumerate(inputs[: train + held_back]):
        slots = dict(re.findall(r"(\w+)\[([^\]]*)\]", given))
        line = {
            "prompt": f"{instruction}\n{given}",
            "response": texts[given][0],
            "answers": texts[given][1:20],
            "group": given,
            "concept": f"{len(slots)} attributes",
            "held_back": number < held_back,
            "style": {"required_phrases": [slots[slot] for slot in ("name", "near") if slot in slots], "max_words": 40},
        }
        lines.append(line)
    _write(output, lines)


def _source(folder: Path, source: dict[str, str]) -> str:
    path = folder / source["path"]
    # A ticket is cited under the address it gives itself.
    own = json.loads(path.read_text(encoding="utf-8")).get("url", "") if path.suffix == ".json" else ""
    return f"{own or source['path']}#{source['anchor']}"


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file)


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    held = sum(line["held_back"] for line in lines)
    typer.echo(f"{path}: {len(lines) - held} examples to train on, {held} held back")


if __name__ == "__main__":
    app()
