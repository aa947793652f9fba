"""Tokenizers give every text back, grow without moving old ids, and say what they cannot do."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from backends.scratch.vocabulary import (
    check_round_trip,
    encoded,
    extended,
    fertility,
    kept,
    trained,
    widened,
)
from knowledge.errors import UserError

GENERAL = files("backends.finetune").joinpath("general.txt").read_text(encoding="utf-8")
TEXTS = GENERAL.split("\n")
DOMAIN = ["let mut borrowed = checker.borrow_mut(); // tokio::spawn\n" * 3] * 20
BPE = trained("bpe", TEXTS, 400, masked=True)
UNIGRAM = trained("unigram", TEXTS, 400)
BYTES = trained("bytes", [])


@pytest.mark.parametrize("tokenizer", [BPE, UNIGRAM, BYTES], ids=["bpe", "unigram", "bytes"])
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast) -> None:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.text(), max_size=5))
    def comes_back(texts: list[str]) -> None:
        check_round_trip(tokenizer, texts)

    comes_back()
    check_round_trip(tokenizer, ["\x00  \t\r\n é e\u0301 漢字 🎉 ﬁ <|endoftext|> don 't  "])


def test_bytes_have_their_own_numbers() -> None:
    assert next(encoded(BYTES, ["\x00A é"])) == list("\x00A é".encode())
    assert (len(BYTES), BYTES.eos_token_id) == (258, 256)


def test_characters_are_numbered_in_order_and_a_new_one_is_unknown() -> None:
    made = trained("characters", ["abba", "c\n"])
    assert next(encoded(made, ["\nabc"])) == [0, 1, 2, 3]
    assert next(encoded(made, ["x"])) == [made.unk_token_id]
    assert fertility(made, ["axx"]).unknown == 2
    check_round_trip(made, ["cab\n"])
    with pytest.raises(UserError, match="text 2 comes back changed at character 1: 'x'"):
        check_round_trip(made, ["a", "ax"])


def test_special_tokens_are_there_and_their_names_in_texts_are_text() -> None:
    assert BPE.mask_token_id is not None
    assert len(BPE) == 400
    assert BPE.eos_token_id not in next(encoded(BPE, ["a<|endoftext|>b"]))
    assert BPE("<|endoftext|>").input_ids == [BPE.eos_token_id]
    spans = trained("bytes", [], sentinels=3)
    assert spans.convert_tokens_to_ids("<extra_id_2>") == 260


def test_a_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    BPE.save_pretrained(tmp_path)
    assert list(encoded(kept(tmp_path), TEXTS)) == list(encoded(BPE, TEXTS))
    with pytest.raises(UserError, match="no tokenizer"):
        kept(tmp_path / "nowhere")


def test_fertility_counts_what_a_hand_would() -> None:
    found = fertility(BYTES, ["é a", "bc d"])
    assert found[:3] == (8, 4, 8)
    assert (found.tokens_per_word, found.bytes_per_token) == (2.0, 1.0)
    assert fertility(BYTES, []).tokens_per_word is None


@pytest.mark.parametrize(
    ("kind", "texts", "size", "says"),
    [
        ("bpe", TEXTS, 100_000, "support [0-9,]+ pieces, not the 99,998 asked for"),
        ("unigram", TEXTS, 100_000, "support [0-9,]+ pieces"),
        ("bpe", TEXTS, 200, "no room beside 256 bytes"),
        ("bpe", TEXTS, None, "needs a size"),
        ("bpe", ["", ""], 300, "every document is empty"),
        ("characters", [], None, "every document is empty"),
        ("bep", TEXTS, 300, "did you mean 'bpe'"),
    ],
)
def test_what_cannot_be_trained_is_said(
    kind: str, texts: list[str], size: int | None, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        trained(kind, texts, size)


@pytest.mark.parametrize("tokenizer", [BPE, UNIGRAM], ids=["bpe", "unigram"])
def test_extension_keeps_ids_and_texts_and_cuts_the_domain_less(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    wider = extended(tokenizer, DOMAIN, 20)
    before, after = tokenizer.get_vocab(), wider.get_vocab()
    assert len(wider) == len(tokenizer) + 20
    assert before.items() <= after.items()
    assert wider.eos_token_id == tokenizer.eos_token_id
    check_round_trip(wider, [*DOMAIN, *TEXTS])
    assert fertility(wider, DOMAIN).tokens < 0.6 * fertility(tokenizer, DOMAIN).tokens
    wider.save_pretrained(tmp_path)
    assert list(encoded(kept(tmp_path), DOMAIN)) == list(encoded(wider, DOMAIN))
    with pytest.raises(UserError, match=r"support [0-9]+ new pieces"):
        extended(tokenizer, DOMAIN, 5000)


def test_extension_merges_the_most_frequent_pair_first() -> None:
    wider = extended(BYTES, ["abab abab"] * 10, 2)
    assert wider.convert_ids_to_tokens([258, 259]) == ["ab", "abab"]


def word_pieces() -> PreTrainedTokenizerFast:
    pieces = ["[UNK]", "[MASK]", *"abc", *("##a", "##b", "##c")]
    backend = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", mask_token="[MASK]")


def test_word_pieces_are_extended_and_a_model_widened_by_means() -> None:
    old = word_pieces()
    new = extended(old, ["CAB cab bcab"] * 9, 2)
    assert new.convert_ids_to_tokens([8, 9]) == ["##ab", "cab"]
    assert new.tokenize("cab bcab") == ["cab", "b", "##c", "##ab"]
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8,
        )
    )  # fmt: skip
    torch.nn.init.normal_(model.cls.predictions.bias)
    rows = model.get_input_embeddings().weight.detach().clone()
    biases = model.cls.predictions.bias.detach().clone()
    widened(model, old, new)
    wide = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is wide
    assert torch.equal(wide[:8], rows)
    torch.testing.assert_close(wide[8], rows[[5, 6]].mean(0))  # ##a ##b
    torch.testing.assert_close(wide[9], rows[[4, 5, 6]].mean(0))  # c ##a ##b
    torch.testing.assert_close(model.get_output_embeddings().bias[9], biases[[4, 5, 6]].mean())


def test_untied_heads_are_widened_too() -> None:
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=258, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, tie_word_embeddings=False,
        )
    )  # fmt: skip
    new = extended(BYTES, ["abab abab"] * 10, 2)
    widened(model, BYTES, new)
    head = model.get_output_embeddings().weight
    assert head.shape == (260, 8)
    torch.testing.assert_close(head[258], head[[97, 98]].mean(0))
    assert model.config.vocab_size == 260
