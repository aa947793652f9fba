"""Shards hold what was written, and say so when they no longer do."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.scratch.stream import open_shards, write_shards
from knowledge.errors import UserError

DOCUMENTS = [[1, 2, 3], [], [4, 5], list(range(6, 40))]
JOINED = [1, 2, 3, 0, 4, 5, 0, *range(6, 40), 0]


@settings(max_examples=30, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 99), max_size=30), min_size=1, max_size=20),
    shard=st.integers(1, 50),
    start=st.integers(0, 700),
    count=st.integers(0, 700),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    shard: int,
    start: int,
    count: int,
) -> None:
    joined = [token for one in documents if one for token in (*one, 99)]
    folder = tmp_path_factory.mktemp("shards") / "tokens"
    if not joined:
        with pytest.raises(UserError, match="no tokens"):
            write_shards(documents, folder, 100, 99, shard)
        assert not folder.exists()
        return
    write_shards(documents, folder, 100, 99, shard)
    shards = open_shards(folder)
    assert shards.tokens == len(joined)
    start = min(start, len(joined))
    count = min(count, len(joined) - start)
    assert shards.read(start, count).tolist() == joined[start : start + count]
    assert len(shards.index.files) == -(-len(joined) // shard)
    assert not shards.damaged()


@pytest.mark.parametrize(("vocabulary", "bytes_each"), [(2**16, 2), (2**16 + 1, 4)])
def test_tokens_take_two_bytes_where_two_suffice(
    tmp_path: Path, vocabulary: int, bytes_each: int
) -> None:
    shards = write_shards([[vocabulary - 1, 7]], tmp_path / "t", vocabulary, 0)
    assert (tmp_path / "t" / "00000.bin").stat().st_size == 3 * bytes_each
    assert shards.read(0, 3).tolist() == [vocabulary - 1, 7, 0]


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    write_shards(DOCUMENTS, tmp_path / "t", 64, 0, shard_tokens=16)
    shard = tmp_path / "t" / "00001.bin"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"00001\.bin' has 29 bytes, not the 32"):
        open_shards(tmp_path / "t")
    shard.unlink()
    with pytest.raises(UserError, match=r"00001\.bin' is missing"):
        open_shards(tmp_path / "t")


def test_a_file_changed_in_place_is_found(tmp_path: Path) -> None:
    shards = write_shards(DOCUMENTS, tmp_path / "t", 64, 0, shard_tokens=16)
    shard = tmp_path / "t" / "00002.bin"
    shard.write_bytes(b"\1" + shard.read_bytes()[1:])
    assert shards.damaged() == ["00002.bin"]


def test_a_token_outside_the_vocabulary_is_refused_and_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"document 2 has token 64, outside the vocabulary of 64"):
        write_shards([[1], [2, 64]], tmp_path / "t", 64, 0)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    write_shards(DOCUMENTS, tmp_path / "t", 64, 0)

    def full() -> Iterator[list[int]]:
        yield [1, 2]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        write_shards(full(), tmp_path / "t", 64, 0)
    assert open_shards(tmp_path / "t").read(0, len(JOINED)).tolist() == JOINED
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(UserError, match="something else than shards"):
        write_shards(DOCUMENTS, tmp_path, 64, 0)
    with pytest.raises(UserError, match=r"no index\.json"):
        open_shards(tmp_path)


def test_a_damaged_index_is_said(tmp_path: Path) -> None:
    write_shards(DOCUMENTS, tmp_path / "t", 64, 0)
    (tmp_path / "t" / "index.json").write_text('{"dtype": ')
    with pytest.raises(UserError, match="damaged"):
        open_shards(tmp_path / "t")


def test_the_fingerprint_follows_the_tokens(tmp_path: Path) -> None:
    one = write_shards(DOCUMENTS, tmp_path / "a", 64, 0)
    same = write_shards(iter(DOCUMENTS), tmp_path / "b", 64, 0)
    other = write_shards([[1, 2, 4], *DOCUMENTS[1:]], tmp_path / "c", 64, 0)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        one.read(0, 1)


def test_reading_past_the_end_is_a_bug(tmp_path: Path) -> None:
    shards = write_shards(DOCUMENTS, tmp_path / "t", 64, 0)
    with pytest.raises(IndexError):
        shards.read(len(JOINED) - 1, 2)
    assert np.array_equal(shards.read(0, 0), np.empty(0))
