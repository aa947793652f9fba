"""Texts cut into tokens: shown while it lasts, stopped where the user asks, nothing left half."""

from pathlib import Path

import pytest

from backends.base import Context, Interrupted, Silence
from backends.scratch import corpora, vocabulary
from backends.scratch.corpora import HELD, TRAIN, Texts

LINE = "the red fox " * 8000  # longer than a piece
TEXTS = Texts(lambda: iter([LINE, "a fox"]), lambda: iter(["a red fox"]))


def test_a_stop_leaves_no_shards_and_the_next_run_shows_how_far_it_is(tmp_path: Path) -> None:
    bars: list[tuple[str, int]] = []

    class Seen(Silence):
        def start(self, label: str, total: int, unit: str) -> None:
            bars.append((label, total))

        def advance(self, done: int, **figures: float) -> None:
            assert done <= bars[-1][1]

    made = vocabulary.trained("characters", [LINE])
    folder = tmp_path / "tokens"
    stopped = Context(tmp_path, should_stop=lambda: True)
    with pytest.raises(Interrupted, match="cut into tokens"):
        corpora.corpus(TEXTS, made, folder, (TRAIN, HELD), True, stopped)
    assert not list(folder.iterdir())
    context = Context(tmp_path, progress=Seen())
    found = corpora.corpus(TEXTS, made, folder, (TRAIN, HELD), False, context)
    assert found.train.tokens == len(LINE) + len("a fox") + 2
    assert found.train.index.documents == 2
    assert [total for _, total in bars] == [len(LINE) + len("a fox"), len("a red fox")]
