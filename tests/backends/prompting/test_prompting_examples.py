"""Examples chosen by embedding: the nearest of each text, and a spread of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from asking_runs import jsonl, loopback, ran
from loopback import Loopback

from backends.base import Data
from backends.prompting import BACKEND
from backends.prompting.examples import Nearest, Same, selector, with_examples
from backends.prompting.prompts import Example

TOPICS = {
    "weather": ["it rains a lot today", "the sun shines on the beach", "snow and cold wind"],
    "food": ["the soup tastes of salt", "bake bread with flour", "a ripe sweet apple"],
    "trains": ["the train was late again", "platform nine at the station", "a ticket for the rail"],
}
POOL = [Example(text, topic) for topic, texts in TOPICS.items() for text in texts]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    yield from loopback(monkeypatch)


class Corners:
    """An embedder whose vectors are the corners of a cube: distances are known."""

    def passages(self, texts: list[str]) -> np.ndarray:
        places = [sorted({example.text for example in POOL}).index(text) for text in texts]
        return np.eye(len(POOL), dtype=np.float32)[places]


def test_the_nearest_are_found_and_stand_last() -> None:
    made = selector("nearest", POOL, 3, 1, "all-minilm-l6-v2", True)
    assert isinstance(made, Nearest)
    first, second = made.chosen(["heavy rain and a storm", "when does my train leave"])
    assert first[-1].target == "weather" and second[-1].target == "trains"
    assert len(first) == len(second) == 3
    (own,) = made.chosen([POOL[4].text])
    assert own[-1] == POOL[4]
    assert len(selector("nearest", POOL, 50, 1, "all-minilm-l6-v2", True).chosen(["x"])[0]) == 9


def test_a_spread_covers_the_topics() -> None:
    made = selector("diverse", POOL, 4, 1, "all-minilm-l6-v2", True)
    (chosen,) = made.chosen(["anything"])
    assert {example.target for example in chosen} == set(TOPICS)
    assert selector("diverse", POOL, 4, 1, "all-minilm-l6-v2", True).chosen(["x"]) == [chosen]


def test_items_come_in_order_with_their_own_examples() -> None:
    made = Nearest(POOL, 1, Corners(), Corners().passages([one.text for one in POOL]))
    texts = [POOL[n % len(POOL)].text for n in range(300)]
    paired = list(with_examples(texts, made, str))
    assert [text for text, _ in paired] == texts
    assert all(examples[0].text == text for text, examples in paired)
    assert list(with_examples([], made, str)) == []
    assert list(with_examples(["a"], Same(()), str)) == [("a", ())]


def test_a_run_shows_each_text_its_nearest(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda _: "weather"
    train = [{"text": one.text, "label": one.target} for one in POOL]
    test = [
        {"text": "rain and wind", "label": "weather"}, {"text": "bread and soup", "label": "food"},
    ]  # fmt: skip
    data = Data(train=jsonl(tmp_path / "a.jsonl", train), test=jsonl(tmp_path / "b.jsonl", test))
    result = ran(tmp_path / "run", data, shots=2, choice="nearest")
    by_text = {text.rsplit("Text: ", 1)[1].splitlines()[0]: text for text in server.asked()}
    assert "Label: weather\n" in by_text["rain and wind"]
    assert "Label: food\n" in by_text["bread and soup"]
    head = by_text["rain and wind"].split("\n\nText:")[0]
    assert by_text["bread and soup"].startswith(head)  # what is the same stands first
    assert result.counts["items"] == 2
    pool = (tmp_path / "run" / "prompt" / "examples.jsonl").read_text().splitlines()
    assert len(pool) == len(POOL) and json.loads(pool[0])["target"] == "weather"
    list(BACKEND.predict(tmp_path / "run", ["bread and soup with salt"]))
    assert "Label: food\n" in server.asked()[-1]
    saved = faiss.read_index(str(tmp_path / "run" / "prompt" / "examples.faiss"))
    assert saved.ntotal == len(POOL)
