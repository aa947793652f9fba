"""How often the right label is among the examples of a message, on Banking77, by way of choosing.

    python benchmarks/banking77_examples.py --data FOLDER [--shots 8] [--prompt-tokens 1024]

`FOLDER` holds `train.csv` and `test.csv`. Examples come from the training messages; for each test
message it is seen whether its label is among them, after those that found no room in the budget of
tokens were dropped. Selections a second are counted for `nearest` with the query's embedding left
out, and with it.

With an endpoint (`OPENAI_BASE_URL`, `OPENAI_API_KEY`) and `--model`, every way is also run on
`--limit` test messages, and its accuracy printed with the 95 % interval.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from backends.base import Context, Data, Step
from backends.evaluate import share
from backends.prompting import BACKEND, Settings
from backends.prompting.examples import Nearest, selector
from backends.prompting.items import task
from backends.prompting.prompts import Example
from backends.prompting.recipes import prompt
from backends.prompting.tokens import Counter, Room

EMBEDDER = "all-minilm-l6-v2"
WAYS = ("random", "fixed", "balanced", "diverse", "nearest")


def hit_share(shown: list[tuple[Example, ...]], labels: list[str]) -> str:
    """The share of messages whose label is among their examples, with its Wilson interval."""
    hits = sum(
        label in {example.target for example in some}
        for some, label in zip(shown, labels, strict=True)
    )
    metric = share(hits, len(labels))
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def accuracy(way: str, words: argparse.Namespace, data: Data) -> str:
    """What the endpoint makes of the examples."""
    settings = {
        "shots": words.shots, "choice": way, "limit": words.limit,
        "prompt_tokens": words.prompt_tokens, "concurrency": 16,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        step = Step("ask", "prompt", model=words.model, data=data, settings=settings)
        metric = BACKEND.run(step, Context(Path(folder))).metrics["accuracy"]
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def main() -> int:
    """Choose in every way, print the table; 1 where the nearest miss their marks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--model", help="ask this model of the endpoint, too")
    parser.add_argument("--limit", type=int, default=200)
    words = parser.parse_args()
    data = Data(train=str(words.data / "train.csv"), test=str(words.data / "test.csv"))
    made = task(data, Settings(shots=words.shots), seed=13)
    items = list(made.items)
    texts, labels = [item.text for item in items], [item.accepted[0] for item in items]
    base = prompt("m", Settings(), made.labels)
    room = Room(Counter(None), words.prompt_tokens, None, 0)

    def kept(shown: list[tuple[Example, ...]]) -> list[tuple[Example, ...]]:
        """The examples that find room."""
        return [
            some[room.messages(base, text, (), some)[1] :]
            for text, some in zip(texts, shown, strict=True)
        ]

    rows: dict[str, list[tuple[Example, ...]]] = {}
    draw = Random(13)
    rows["random"] = [tuple(draw.sample(made.pool, words.shots)) for _ in texts]
    for way in ("fixed", "balanced", "diverse"):
        rows[way] = selector(way, made.pool, words.shots, 13, EMBEDDER, True).chosen(texts)  # type: ignore[arg-type]
    nearest = selector("nearest", made.pool, words.shots, 13, EMBEDDER, True)
    assert isinstance(nearest, Nearest)
    begun = time.perf_counter()
    vectors = nearest._embedder.passages(texts)
    embedded = time.perf_counter()
    found = nearest.nearest(vectors)
    rows["nearest"] = kept(found)
    done = time.perf_counter()
    rows = {way: shown if way == "nearest" else kept(shown) for way, shown in rows.items()}
    print(f"{len(texts):,} messages, {words.shots} examples, at most {words.prompt_tokens} tokens")
    print(f"{'examples':<12}{'left in':<10}{'right label among them':<30}", end="")
    print(f"accuracy of {words.model}" if words.model else "")
    for way in WAYS:
        left = sum(len(some) for some in rows[way]) / len(texts)
        said = accuracy(way, words, data) if words.model and way != "random" else ""
        print(f"{way:<12}{left:<10.2f}{hit_share(rows[way], labels):<30}{said}")
    without, whole = len(texts) / (done - embedded), len(texts) / (done - begun)
    print(
        f"selections a second: {without:,.0f} without the query's embedding, {whole:,.0f} with it"
    )
    right = sum(
        label in {example.target for example in some}
        for some, label in zip(rows["nearest"], labels, strict=True)
    )
    return 0 if right >= 0.95 * len(labels) and without > 500 else 1


if __name__ == "__main__":
    sys.exit(main())
