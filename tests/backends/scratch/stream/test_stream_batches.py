"""The order is a function of the seed, every token comes once an epoch, a resume is exact."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.scratch.stream import Shards, Source, Stream, whole, write_shards
from backends.scratch.stream.order import mixture, permuted
from knowledge.errors import UserError


def counted(folder: Path, tokens: int, first: int = 0) -> Shards:
    """Shards whose tokens are first, first + 1, ... (so a token tells its place)."""
    numbers = list(range(first, first + tokens - 1))
    return write_shards([numbers], folder, 10**6, 10**6 - 1, shard_tokens=37)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 3000), secret=st.integers(0, 2**64 - 1))
def test_a_shuffle_is_a_bijection(size: int, secret: int) -> None:
    assert sorted(permuted(np.arange(size), size, secret).tolist()) == list(range(size))


def test_a_shuffle_of_a_large_corpus_costs_no_memory_and_repeats_nothing() -> None:
    places = permuted(np.arange(50_000), 10**12, 3)
    assert len(set(places.tolist())) == 50_000
    assert 0.45e12 < places.mean() < 0.55e12
    assert abs(np.corrcoef(places, np.arange(50_000))[0, 1]) < 0.02


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(10, 200), length=st.integers(1, 9), seed=st.integers(0, 5))
def test_an_epoch_has_every_target_once(
    tmp_path_factory: pytest.TempPathFactory, tokens: int, length: int, seed: int
) -> None:
    shards = counted(tmp_path_factory.mktemp("s") / "t", tokens)
    windows = (tokens - 1) // length
    rows = np.concatenate(list(islice(Stream(shards, length, 1, seed), 2 * windows)))
    assert (np.diff(rows, axis=1) == 1).all() or (rows == 10**6 - 1).any()
    for epoch in (rows[:windows], rows[windows:]):
        targets = epoch[:, 1:].ravel().tolist()
        assert len(set(targets)) == windows * length


def test_the_seed_decides_and_epochs_differ(tmp_path: Path) -> None:
    shards = counted(tmp_path / "t", 401)
    first = np.concatenate(list(islice(Stream(shards, 4, 5, seed=1), 40)))
    again = np.concatenate(list(islice(Stream(shards, 4, 5, seed=1), 40)))
    other = np.concatenate(list(islice(Stream(shards, 4, 5, seed=2), 40)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[:100], first[100:])


@settings(max_examples=25, deadline=None)
@given(before=st.integers(0, 30), seed=st.integers(0, 3))
def test_a_resume_goes_on_at_the_exact_token(
    tmp_path_factory: pytest.TempPathFactory, before: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("s")
    sources = [Source(counted(folder / "a", 90), 3.0), Source(counted(folder / "b", 50, 500), 1.0)]
    stream = Stream(sources, 4, 3, seed)
    for _ in range(before):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    resumed = Stream(sources, 4, 3, seed)
    resumed.restore(state)
    assert resumed.tokens == stream.tokens == before * 12
    for _ in range(20):
        assert np.array_equal(next(stream), next(resumed))


def test_processes_share_one_order_whatever_their_number(tmp_path: Path) -> None:
    shards = counted(tmp_path / "t", 1000)
    alone = Stream(shards, 4, 12, seed=7)
    three = [Stream(shards, 4, 4, seed=7, rank=rank, world=3) for rank in range(3)]
    for _ in range(5):
        together = np.concatenate([next(stream) for stream in three])
        assert np.array_equal(next(alone), together)
    two = [Stream(shards, 4, 6, seed=7, rank=rank, world=2) for rank in range(2)]
    for stream in two:
        stream.restore(three[0].state())
    assert np.array_equal(next(alone), np.concatenate([next(stream) for stream in two]))


def test_sources_are_mixed_by_their_weights(tmp_path: Path) -> None:
    domain, general = counted(tmp_path / "d", 300), counted(tmp_path / "g", 300, 5000)
    stream = Stream([Source(domain, 9), Source(general, 1)], 4, 50, seed=3)
    shares = [float((row[:, 0] >= 5000).mean()) for row in islice(stream, 40)]
    assert all(0.04 <= share <= 0.16 for share in shares)
    assert np.mean(shares) == pytest.approx(0.1, abs=0.002)
    assert stream.epochs == pytest.approx((1800 / 74, 200 / 74), rel=0.02)


def test_a_mixture_of_one_source_and_of_thirds() -> None:
    assert set(mixture(np.arange(9), [5.0], 1).tolist()) == {0}
    counts = np.bincount(mixture(np.arange(30_000), [1, 1, 1], 8))
    assert counts.tolist() == pytest.approx([10_000] * 3, abs=5)


def test_changed_data_or_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    shards = counted(tmp_path / "t", 100)
    state = Stream(shards, 4, 2, seed=1).state()
    for other, word in (
        (Stream(shards, 4, 2, seed=2), "seed changed"),
        (Stream(shards, 5, 2, seed=1), "length changed"),
        (Stream(counted(tmp_path / "u", 101), 4, 2, seed=1), "sources changed"),
    ):
        with pytest.raises(UserError, match=word):
            other.restore(state)


def test_too_little_text_for_one_context_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="10 tokens, less than one context of 16"):
        Stream(counted(tmp_path / "t", 10), 16, 2, seed=1)
    with pytest.raises(UserError, match="weight is 0"):
        Stream([Source(counted(tmp_path / "u", 100), 0)], 16, 2, seed=1)


@pytest.mark.parametrize(("tokens", "length"), [(41, 4), (43, 4), (5, 4), (3, 4), (2, 1)])
def test_a_whole_pass_scores_every_token_once(tmp_path: Path, tokens: int, length: int) -> None:
    shards = counted(tmp_path / "t", tokens)
    parts = list(whole(shards, length, batch=3))
    targets = [token for rows in parts for row in rows for token in row[1:].tolist()]
    assert targets == shards.read(1, tokens - 1).tolist()
    assert all(len(rows) <= 3 for rows in parts)
