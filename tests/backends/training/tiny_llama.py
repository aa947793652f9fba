"""A tiny Llama and a toy language of questions and answers that it can learn, made on the spot."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CAPITALS = {"france": "paris", "italy": "rome", "spain": "madrid", "peru": "lima"}
ASKED = ["capital of {}", "what is the capital of {}", "tell me the capital of {}"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, spaces and line ends kept."""
    marks = ["<pad>", "<unk>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    words = sorted({w for text in ASKED for w in text.split() if w != "{}"})
    words += [*CAPITALS, *CAPITALS.values(), "User:", "Assistant:", "System:", "be", "kind", "."]
    vocab = {w: n for n, w in enumerate([*marks, " ", "\n", *words])}
    raw = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = Split(Regex(r"\s"), "isolated")
    raw.decoder = Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        additional_special_tokens=marks[3:],
        model_max_length=64,
    )
    made.chat_template = template
    return made


def model_folder(folder: Path, template: str | None = TEMPLATE, layers: int = 2) -> Path:
    """A folder with an untrained decoder and its tokenizer."""
    torch.manual_seed(0)
    words = tokenizer(template)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Questions with the one word that answers them."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        land = chance.choice(list(CAPITALS))
        found.append((chance.choice(ASKED).format(land), CAPITALS[land]))
    return found


def jsonl_file(path: Path, listed: list[tuple[str, str]], messages: bool = False) -> str:
    """Write questions and answers as JSONL, as prompt and completion or as messages."""
    with path.open("w", encoding="utf-8") as lines:
        for asked, said in listed:
            talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            row = {"messages": talk} if messages else {"prompt": asked, "completion": said}
            lines.write(json.dumps(row) + "\n")
    return str(path)
