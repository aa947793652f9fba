"""The shipped samples are what the documentation says they are."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import knowledge

SAMPLES = Path(knowledge.__file__).parent / "samples"
PAGES = sorted((SAMPLES / "handbook").glob("*.md"))
INTENTS = {
    "account_access",
    "bike_fault",
    "billing",
    "ending_ride",
    "lost_property",
    "membership",
    "stations_and_zones",
    "unlocking",
}
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after all am an and any are as at be been before being but by can could did do "
        "does for from get got had has have having he her his how i if in into is it its just "
        "long many may me more most much must my no not of off on one or our out s should so some "
        "somebody someone such t than that the their them then there these they this to under up "
        "ve was we were what when where which who why will with would you your",
    )
)


def messages(part: str) -> list[tuple[str, str]]:
    with (SAMPLES / "support" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def questions() -> list[dict[str, str]]:
    lines = (SAMPLES / "handbook_questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word.rstrip("e") if len(word) > 3 else word


def content_words(text: str) -> set[str]:
    return {stem(word) for word in plain(text).split() if word not in STOP_WORDS}


def shared_words(question: dict[str, str]) -> float:
    """Share of the question's content words that its passage also holds."""
    asked = content_words(question["question"])
    return len(asked & content_words(question["passage"])) / len(asked)


def test_messages_are_many_distinct_and_not_shared_between_the_parts() -> None:
    train, test = messages("train"), messages("test")
    assert len(train) >= 400
    assert len(test) >= 150
    seen = Counter(plain(text) for text, _ in train + test)
    assert [text for text, count in seen.items() if count > 1] == []


@pytest.mark.parametrize("part", ["train", "test"])
def test_eight_intents_of_uneven_size(part: str) -> None:
    counts = Counter(label for _, label in messages(part))
    assert set(counts) == INTENTS
    assert min(counts.values()) >= 10
    assert max(counts.values()) >= 1.5 * min(counts.values())


def test_messages_are_of_mixed_length() -> None:
    lengths = sorted(len(text.split()) for text, _ in messages("train") + messages("test"))
    assert lengths[len(lengths) // 10] <= 7
    assert lengths[-len(lengths) // 10] >= 20
    assert lengths[-1] <= 60


@pytest.mark.parametrize("vectorizer", ["CountVectorizer", "TfidfVectorizer"])
def test_a_bag_of_words_does_well_and_leaves_something_to_gain(vectorizer: str) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    (texts, labels), (asked, truth) = (
        zip(*messages(part), strict=True) for part in ("train", "test")
    )
    model = make_pipeline(getattr(text, vectorizer)(), LogisticRegression())
    assert 0.70 <= model.fit(texts, labels).score(asked, truth) <= 0.90


def test_the_handbook_is_some_thirty_pages_of_structured_text() -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    assert 28 <= len(texts) <= 34
    for name, text in texts.items():
        assert text.startswith("# "), name
        assert text.count("\n## ") >= 2, name
        assert 200 <= len(text.split()) <= 500, name
    assert any("\n|---|" in text for text in texts.values())
    assert any("\n```\n" in text for text in texts.values())


def test_forty_questions_over_many_pages() -> None:
    asked = questions()
    assert len(asked) == len({question["question"] for question in asked}) == 40
    assert len({question["document"] for question in asked}) >= 25
    assert {page.name for page in PAGES} >= {question["document"] for question in asked}


@pytest.mark.parametrize("question", questions(), ids=lambda row: row["question"])
def test_a_question_is_answered_by_its_page_in_other_words(question: dict[str, str]) -> None:
    assert set(question) == {"question", "document", "passage", "answer"}
    page = (SAMPLES / "handbook" / question["document"]).read_text(encoding="utf-8")
    assert page.count(question["passage"]) == 1
    assert question["answer"]
    assert question["answer"] in question["passage"]
    assert shared_words(question) < 0.40


@pytest.mark.parametrize("name", ["support", "handbook"])
def test_profiles_name_files_that_are_there(name: str) -> None:
    profile = yaml.safe_load((SAMPLES / f"profile_{name}.yaml").read_text(encoding="utf-8"))
    assert profile["name"] == name
    paths = [profile[key] for key in ("data", "test_data", "corpus", "questions") if key in profile]
    assert len(paths) == 2
    assert all((SAMPLES / path).exists() for path in paths)
