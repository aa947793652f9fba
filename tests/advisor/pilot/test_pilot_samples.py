"""Parts of the user's examples: apart from each other, the same every time, read back whole."""

from pathlib import Path

import msgspec
import pytest

from advisor.pilot.samples import FEWEST, part, record, samples
from backends import data
from knowledge import SAMPLES
from knowledge.errors import UserError

TRAIN = str(SAMPLES / "support" / "train.csv")


def test_nothing_measured_on_is_learnt_from(tmp_path: Path) -> None:
    found = samples(TRAIN, tmp_path)
    held = {row.text for row in data.read(str(found.held)).labelled()}
    learnt = {row.text for row in data.read(str(found.train(len(found.keep)))).labelled()}
    whole = {row.text for row in data.read(TRAIN).labelled()}
    assert len(held) == found.n_held >= FEWEST
    assert not held & learnt
    assert held | learnt == whole


def test_a_smaller_part_lies_in_a_larger_one_and_keeps_the_shares(tmp_path: Path) -> None:
    found = samples(TRAIN, tmp_path)
    small, large = part(found.keep, 80), part(found.keep, 160)
    assert abs(len(small) - 80) < 20 and abs(len(large) - 160) < 20
    labels = {row.label for row in found.keep}  # type: ignore[union-attr]
    assert {row.label for row in small} == labels  # type: ignore[union-attr]
    assert part(found.keep, 10**6) == found.keep


def test_a_changed_file_has_parts_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    text = Path(TRAIN).read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    before = samples(str(file), tmp_path / "parts").held
    assert samples(str(file), tmp_path / "parts").held == before
    file.write_text(text + "one more message,refund\n", encoding="utf-8")
    assert samples(str(file), tmp_path / "parts").held.parent != before.parent


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text("text,label\nyes,a\nno,b\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"holds 2 examples; a pilot needs at least {2 * FEWEST}"):
        samples(str(file), tmp_path / "parts")


@pytest.mark.parametrize(
    "line",
    [
        {"text": "hello", "label": "greeting"},
        {"text": "plain text"},
        {"prompt": "2+2?", "completion": "4"},
        {"prompt": "2+2?", "completion": ["4", "four"]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"prompt": "a", "chosen": "good", "rejected": "bad"},
        {"prompt": "a", "responses": ["x", "y", "z"], "ranking": [1, 2, 2]},
        {"prompt": "a", "completion": "b", "label": True},
    ],
    ids=lambda line: "-".join(line),
)
def test_each_kind_of_row_is_read_back_as_itself(tmp_path: Path, line: dict[str, object]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(msgspec.json.encode(line) + b"\n")
    row = data.read(str(file)).rows[0]
    file.write_bytes(msgspec.json.encode(record(row)) + b"\n")
    assert data.read(str(file)).rows[0] == row
