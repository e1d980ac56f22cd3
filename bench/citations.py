"""Measures the citations (services/generator/citing.py), and the answers of a model with them.

    python -m bench.citations --squad data/squad-v2.0-dev [--model .corella/models/SmolLM2-135M-Instruct] --output bench/results

1. Attribution: the gold answer alone ("36 months."), with its question, among the four passages found. Is it cited, and to the gold one?
2. Swaps: the gold sentence is supported; with another number, another name, or its negation turned round it must not be.
3. With `--model`: the model's own answers on the samples and on part of SQuAD 2.0, cited; what is refused before and after the model.
Writes `citations.md`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.material import Index, Query, f1, holds, load_passages, load_queries, load_sample_passages, load_sample_queries
from services.generator.citing import MIN_RELEVANCE, MIN_SUPPORT, cite
from services.generator.domain import Evidence, Passage, Style, Turn
from services.generator.prompting import Prompt, compose
from services.generator.refusal import DEFAULT_THRESHOLD, answerability
from services.generator.sentences import split
from services.generator.standalone import search_query, standalone_question
from services.generator.support import Reader

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 4


@dataclass(frozen=True)
class Case:
    """A question with what was found. `answers` is empty when there is none."""

    query: Query
    question: str
    answers: list[str]
    passages: list[Passage]
    evidence: Evidence


def squad_cases(folder: Path, model: Path, cache: Path) -> list[Case]:
    index, queries = Index(load_passages(folder), model, cache), load_queries(folder)
    vectors = index.embed_queries([query.text for query in queries])
    return [
        Case(query, query.text, list(dict.fromkeys(query.metadata["answers"])), *index.search(query.text, vector, SHOWN))
        for query, vector in zip(queries, vectors, strict=True)
    ]


def sample_cases(samples: Path, model: Path, cache: Path) -> list[Case]:
    index, queries = Index(load_sample_passages(samples), model, cache), load_sample_queries(samples)
    alone = [standalone_question(q.text, "", [Turn(t["question"], t["answer"]) for t in q.metadata["history"]]) for q in queries]
    searched = [search_query(query.text, text) for query, text in zip(queries, alone, strict=True)]
    vectors = index.embed_queries(searched)
    return [
        Case(
            query,
            text,
            [query.metadata["answer"], *query.metadata["answer_aliases"]] if query.gold else [],
            *index.search(search, vector, SHOWN),
        )
        for query, text, search, vector in zip(queries, alone, searched, vectors, strict=True)
    ]


def attribution(label: str, cases: list[Case]) -> list[str]:
    """Cite the gold answer alone, where its passage is among those found."""
    chosen = [case for case in cases if case.answers and case.query.gold & {passage.name for passage in case.passages}]
    cited = right = holding = 0
    for case in chosen:
        answer = cite(f"{case.answers[0]}.", case.passages, case.question)
        cited += bool(answer.citations)
        names = [citation.passage for citation in answer.citations]
        right += bool(names) and names[0] in case.query.gold
        holding += bool(names) and any(holds(citation.quote, case.answers[0]) for citation in answer.citations)
    return [
        f"| {label} | {len(chosen)} | {cited / len(chosen):.3f} | {right / max(cited, 1):.3f} | {right / len(chosen):.3f} |"
        f" {holding / max(cited, 1):.3f} |"
    ]


def swaps(cases: list[Case]) -> list[str]:
    """Turn supported sentences into false ones."""
    generator = random.Random(7)
    named: Counter[str] = Counter()
    sentences: list[tuple[Case, str]] = []
    for case in cases:
        if not case.answers:
            continue
        gold = next((passage for passage in case.passages if passage.name in case.query.gold), None)
        sentence = next((s.text for s in split(gold.text) if holds(s.text, case.answers[0])), None) if gold else None
        if sentence and 5 <= len(sentence.split()) <= 40:
            sentences.append((case, sentence))
            named.update(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b", sentence))
    pool = sorted(named)

    def number(text: str) -> str:
        return re.sub(r"\d+", lambda match: str(int(match.group()) + generator.randint(1, 9)), text, count=1)

    def name(text: str) -> str:
        return re.sub(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b", lambda match: generator.choice(pool), text, count=1)

    def negation(text: str) -> str:
        if re.search(r"\bnot \b", text):
            return re.sub(r"\bnot ", "", text, count=1)
        return re.sub(r"\b(is|are|was|were|has|had|can|could|will|would|must|may)\b", r"\1 not", text, count=1)

    lines = ["| claim | claims | called supported by the gold passage | by any of the four |", "|---|---|---|---|"]
    kinds: list[tuple[str, Callable[[str], str]]] = [
        ("the sentence itself", lambda text: text),
        ("another number", number),
        ("another name", name),
        ("negation turned round", negation),
    ]
    for label, change in kinds:
        total = by_gold = by_any = 0
        for case, sentence in sentences:
            claim = change(sentence)
            if (claim == sentence) != (label == "the sentence itself"):
                continue
            reader = Reader(case.passages, case.question)
            supports = reader.supports(claim)
            total += 1
            by_any += supports[0].score >= MIN_SUPPORT
            by_gold += any(s.score >= MIN_SUPPORT and case.passages[s.number - 1].name in case.query.gold for s in supports)
        lines.append(f"| {label} | {total} | {by_gold / total:.3f} | {by_any / total:.3f} |")
    return lines


class Writer:
    """The model, run in this process by vLLM. What it wrote is kept in `cache`, by prompt, and not generated again."""

    def __init__(self, folder: Path, cache: Path, max_tokens: int) -> None:
        from transformers import AutoTokenizer

        self._folder, self._max_tokens = folder, max_tokens
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self._file = cache / "answers.json"
        self._kept: dict[str, list[int | str]] = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
        self._model: Any = None

    def write(self, cases: list[Case]) -> tuple[list[str], float, float]:
        """Return the answers, and the mean number of prompt and answer tokens."""
        chats = [[{"role": each.role, "content": each.text} for each in self._prompt(case).messages] for case in cases]
        keys = [hashlib.sha256(json.dumps([self._folder.name, self._max_tokens, chat]).encode()).hexdigest() for chat in chats]
        missing = {key: chat for key, chat in zip(keys, chats, strict=True) if key not in self._kept}
        if missing:
            self._generate(missing)
        rows = [self._kept[key] for key in keys]
        prompt, answer = (sum(int(row[column]) for row in rows) / len(rows) for column in (1, 2))
        return [str(text) for text, *_ in rows], prompt, answer

    def _prompt(self, case: Case) -> Prompt:
        return compose(
            case.question,
            case.passages,
            summary="",
            style=Style(),
            deployment_instruction="",
            budget_tokens=1600,
            count_tokens=lambda text: len(self._tokenizer.encode(text)),
        )

    def _generate(self, missing: dict[str, list[dict[str, str]]]) -> None:
        os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        from vllm import LLM, SamplingParams

        self._model = self._model or LLM(str(self._folder), dtype="bfloat16", enforce_eager=True, max_model_len=2048, max_num_seqs=16)
        outputs = self._model.chat(list(missing.values()), SamplingParams(temperature=0, max_tokens=self._max_tokens), use_tqdm=False)
        for key, output in zip(missing, outputs, strict=True):
            answer = output.outputs[0]
            self._kept[key] = [answer.text, len(output.prompt_token_ids or []), len(answer.token_ids)]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._kept), encoding="utf-8")


def written(label: str, cases: list[Case], writer: Writer) -> list[str]:
    """Answer with the model, cite, and count."""
    texts, asked, said = writer.write(cases)
    early = [answerability(case.question, case.passages, case.evidence) < DEFAULT_THRESHOLD for case in cases]
    answers = [cite(text, case.passages, case.question) for text, case in zip(texts, cases, strict=True)]
    answered = [not refused and answer.refusal_reason is None for refused, answer in zip(early, answers, strict=True)]
    rows = list(zip(cases, texts, answers, answered, early, strict=True))
    good = [row for row in rows if row[0].answers]
    bad = [row for row in rows if not row[0].answers]
    right_raw = sum(any(holds(text, gold) for gold in case.answers) for case, text, *_ in good)
    right = sum(kept and any(holds(answer.text, gold) for gold in case.answers) for case, _, answer, kept, _ in good)
    kept = sum(row[3] for row in good)
    gold_cited = sum(row[3] and row[2].citations[0].passage in row[0].query.gold for row in good)
    holding = sum(row[3] and any(any(holds(c.quote, gold) for gold in row[0].answers) for c in row[2].citations) for row in good)
    right_gold = sum(
        row[3] and row[2].citations[0].passage in row[0].query.gold and any(holds(row[2].text, gold) for gold in row[0].answers)
        for row in good
    )
    refused_bad, refused_good = len(bad) - sum(row[3] for row in bad), len(good) - kept
    lines = [
        f"### {label}: {len(good)} answerable, {len(bad)} unanswerable",
        "",
        f"Prompt {asked:.0f} tokens, answer {said:.0f} tokens in the mean.",
        "",
        "| answerable questions | |",
        "|---|---|",
        f"| token F1 of what the model wrote | {sum(max(f1(row[1], gold) for gold in row[0].answers) for row in good) / len(good):.3f} |",
        f"| the model's text holds the gold answer | {right_raw / len(good):.3f} |",
        f"| answered after both checks | {kept / len(good):.3f} |",
        f"| the final answer holds the gold answer, of all | {right / len(good):.3f} |",
        f"| the same, of those answered | {right / max(kept, 1):.3f} |",
        f"| first citation is a gold passage, of those answered (precision) | {gold_cited / max(kept, 1):.3f} |",
        f"| first citation is a gold passage, of all (recall) | {gold_cited / len(good):.3f} |",
        f"| a quote holds the gold answer, of those answered | {holding / max(kept, 1):.3f} |",
        f"| right answer: first citation is a gold passage | {right_gold / max(right, 1):.3f} ({right_gold}/{right}) |",
        f"| citations the model set itself | {sum(any(c.from_model for c in row[2].citations) for row in good if row[3])} |",
        "",
        "| refusal | refused unanswerable (recall) | refused answerable | precision |",
        "|---|---|---|---|",
    ]
    early_bad, early_good = sum(row[4] for row in bad), sum(row[4] for row in good)
    after = (refused_bad, refused_good)
    for name, (true, false) in {"before the model": (early_bad, early_good), "before and after": after}.items():
        lines.append(f"| {name} | {true / max(len(bad), 1):.3f} | {false / len(good):.3f} | {true / max(true + false, 1):.3f} |")
    wrong = sum(row[3] and not any(holds(row[2].text, gold) for gold in row[0].answers) for row in good) + sum(row[3] for row in bad)
    lines += ["", f"Of all {len(rows)} questions: right {right}, wrong or unasked-for {wrong}, refused {len(rows) - right - wrong}.", ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="folder of an instruct model; without it nothing is generated")
    parser.add_argument("--limit", type=int, default=100, help="answerable and unanswerable SQuAD questions to generate for, each")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--samples", type=Path, default=ROOT / "samples")
    parser.add_argument("--embedding-model", type=Path, default=ROOT / ".corella/models/all-MiniLM-L6-v2")
    parser.add_argument("--cache", type=Path, default=ROOT / ".corella/bench")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    samples = sample_cases(options.samples, options.embedding_model, options.cache)
    squad = squad_cases(options.squad, options.embedding_model, options.cache)
    lines = [
        "# Citations",
        "",
        f"Support from {MIN_SUPPORT}, relevance from {MIN_RELEVANCE}; four passages each.",
        "",
        "## Attribution",
        "",
    ]
    lines += [
        "| gold answers of | answers | cited | cited rightly (precision) | recall | quote holds the answer |",
        "|---|---|---|---|---|---|",
    ]
    lines += [*attribution("samples", samples), *attribution("SQuAD 2.0", squad), "", "## Swaps (SQuAD 2.0)", "", *swaps(squad), ""]
    if options.model:
        writer = Writer(options.model, options.cache, options.max_tokens)
        generator = random.Random(11)
        generator.shuffle(squad)
        good = [case for case in squad if case.answers][: options.limit]
        bad = [case for case in squad if not case.answers][: options.limit]
        lines += [f"## Answers of {options.model.name}", "", *written("samples", samples, writer)]
        lines += written("SQuAD 2.0", [*good, *bad], writer)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "citations.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
