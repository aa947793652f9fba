"""XQuAD as a RAG corpus: its paragraphs indexed, its questions asked, the ranks counted.

    python benchmarks/xquad_rag.py --data PATH_TO_XQUAD [--lang en]

The folder of the data set (https://github.com/google-deepmind/xquad, CC BY-SA 4.0) can also be
named by the environment variable XQUAD. A hit is the paragraph that the question was asked about,
whichever of its passages was found.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import backends
from backends.base import Context, Data, Step, StepResult
from backends.rag import RETRIEVERS

LANGUAGES = {"en": "english", "de": "german", "es": "spanish", "zh": "none"}
COLUMNS = ("recall@1", "recall@5", "recall@10", "mrr")


def converted(source: Path, folder: Path) -> tuple[Path, Path]:
    """The paragraphs as a JSONL corpus and the questions as a JSONL file."""
    corpus, questions = folder / "corpus.jsonl", folder / "questions.jsonl"
    articles = json.loads(source.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    with (
        corpus.open("w", encoding="utf-8") as texts,
        questions.open("w", encoding="utf-8") as asked,
    ):
        for number, paragraph in enumerate(paragraphs, start=1):
            row = {"id": f"p{number}", "text": paragraph["context"]}
            texts.write(json.dumps(row, ensure_ascii=False) + "\n")
            for one in paragraph["qas"]:
                row = {
                    "question": one["question"],
                    "document": f"p{number}",
                    "answers": [answer["text"] for answer in one["answers"]],
                }
                asked.write(json.dumps(row, ensure_ascii=False) + "\n")
    return corpus, questions


def measured(
    corpus: Path, questions: Path, folder: Path, settings: dict[str, object]
) -> StepResult:
    """What the rag backend does with the corpus and the questions."""
    data = Data(corpus=str(corpus), questions=str(questions))
    step = Step(name="xquad", method="rag", data=data, settings=settings)
    context = Context(folder=folder)
    folder.mkdir(parents=True)
    backend = backends.load(step.method)
    backend.check(step, context)
    return backend.run(step, context)


def table(result: StepResult) -> str:
    """The figures of every retriever, with the chosen one's intervals."""
    chosen = str(result.settings["retriever"])
    lines = [f"{'retriever':10}" + "".join(f"{column:>26}" for column in COLUMNS)]
    for retriever in RETRIEVERS:
        prefix = "" if retriever == chosen else f"{retriever}_"
        cells = []
        for column in COLUMNS:
            one = result.metrics[prefix + column]
            cells.append(f"{one.value:>10.3f} [{one.low:.3f}, {one.high:.3f}]".rjust(26))
        lines.append(f"{retriever:10}" + "".join(cells))
    others = {
        name: one
        for name, one in result.metrics.items()
        if not any(name.endswith(column) for column in COLUMNS)
    }
    lines += [f"{name}: {one.value:.3f}" for name, one in others.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", default=os.environ.get("XQUAD"), help="the folder of xquad")
    parser.add_argument("--lang", default="en", choices=sorted(LANGUAGES))
    parser.add_argument("--set", action="append", default=[], help="a setting, as key=value")
    asked = parser.parse_args()
    source = Path(asked.data or ".") / f"xquad.{asked.lang}.json"
    if not source.is_file():
        sys.exit(f"no file {str(source)!r}; name the folder with --data or XQUAD")
    settings: dict[str, object] = {"language": LANGUAGES[asked.lang]}
    for one in asked.set:
        key, _, value = one.partition("=")
        settings[key] = json.loads(value) if value[:1] in "0123456789" else value
    with tempfile.TemporaryDirectory() as scratch:
        corpus, questions = converted(source, Path(scratch))
        begun = time.perf_counter()
        result = measured(corpus, questions, Path(scratch) / "run", settings)
        seconds = time.perf_counter() - begun
        lines = (Path(scratch) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    indexing = json.loads(lines[0])["seconds"]
    print(f"xquad {asked.lang}: " + ", ".join(f"{n} {name}" for name, n in result.counts.items()))
    print(
        f"{result.settings['precision']}, cut and embedded in {indexing:.1f} s "
        f"(loading the model included), {result.seconds:.1f} s with the questions, "
        f"{seconds:.1f} s with imports"
    )
    print(table(result))
    for note in result.notes:
        print(f"note: {note}")


if __name__ == "__main__":
    main()
