"""A tiny embedder made on the spot, and a small corpus: enough wherever meaning does not matter."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = """
a after again all and are at be before by can day door each every for from give goes hold how if
in is it keep key leave left lock may month must no not of office on one open or out paid pay per
return room sick staff take ten the then there to travel two until use when who with within work
year you your . , ? ! # - `
"""


def tiny_embedder(folder: Path, seed: int = 0) -> Path:
    """A random two-layer BERT of 16 numbers with a word tokenizer, as a model folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {
        word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered of engines, in a folder of the test's own."""
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path / "cache" / "answers.sqlite"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_embedder(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def other_tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_embedder(tmp_path_factory.mktemp("other"), seed=1))


LEAVE = """# Leave

Staff may take ten days of leave per year. Each day must be agreed before it is taken.

## When you are sick

Call the office before ten. After two days you need a note from a doctor.

```python
def days_left(taken):
    return 10 - taken
```
"""
KEYS = """Keys

Every room has one key. You must return your key when you leave.

Lost keys are paid by the one who lost them.
"""


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    (folder / "office").mkdir(parents=True)
    (folder / "leave.md").write_text(LEAVE, encoding="utf-8")
    (folder / "office" / "keys.txt").write_text(KEYS, encoding="utf-8")
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as a questions file and gives its path."""

    def write(*rows: dict[str, object]) -> str:
        path = tmp_path / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write
