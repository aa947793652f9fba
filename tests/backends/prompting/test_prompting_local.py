"""Models in this process: a decoder taught on the spot, batched, streamed, resumed, refused."""

import asyncio
import json
from pathlib import Path

import pytest
import torch
from asking_runs import jsonl, outcomes
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from backends.base import Context, Data, Interrupted, Step, Turn
from backends.data import Message
from backends.prompting import BACKEND
from backends.prompting.exchange import Declined, Request
from backends.prompting.local import Local
from knowledge.errors import UserError

COLOURS = ("red", "green", "blue")
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *COLOURS, "follows", *(f"w{n}" for n in range(20))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to say the colour after the one it reads, then to stop."""
    folder = tmp_path_factory.mktemp("model")
    ids = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=32, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    network = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    draw = torch.Generator().manual_seed(0)
    for turn in range(400):
        rows = []
        for colour in range(3):
            filler = torch.randint(8, len(WORDS), (1 + turn % 4,), generator=draw).tolist()
            rows.append([1, *filler, 4 + colour, 7, 4 + (colour + 1) % 3, 2])
        batch = torch.tensor(rows)
        loss = network(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    return folder


def question(n: int) -> dict[str, str]:
    """An item whose length and colour vary."""
    filler = " ".join(f"w{(n + k) % 20}" for k in range(1 + n % 4))
    return {
        "prompt": f"{filler} {COLOURS[n % 3]} follows",
        "completion": COLOURS[(n + 1) % 3],
    }


def step(model: Path, test: str, **settings: object) -> Step:
    usual = {"provider": "local", "max_tokens": 4, "batch_size": 8, "cache": False}
    return Step(
        "ask", "prompt", model=str(model), data=Data(test=test), settings={**usual, **settings}
    )


def test_a_run_with_a_local_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    test = jsonl(tmp_path / "q.jsonl", [question(n) for n in range(30)])
    asked = step(model, test)
    stops = iter([False] * 12)
    context = Context(tmp_path, should_stop=lambda: next(stops, True), budget_usd=0.0)
    BACKEND.check(asked, context)
    with pytest.raises(Interrupted):
        BACKEND.run(asked, context)
    result = BACKEND.run(asked, Context(tmp_path, resume=True))
    assert result.metrics["exact_match"].value >= 0.9
    assert result.usd == 0.0
    assert 0 < result.counts["from_journal"] < 30 and result.counts["requests"] == 30
    (first, *_) = outcomes(tmp_path)
    assert first["answer"] in COLOURS
    assert result.counts["output_tokens"] == 60  # a colour and the end, thirty times
    (said,) = BACKEND.predict(tmp_path, ["w1 red follows"])
    assert said.answer == "green"


def test_a_batch_says_what_single_requests_say(model: Path) -> None:
    requests = [
        Request(str(model), (Message("user", question(n)["prompt"]),), 4) for n in range(10)
    ]

    async def together() -> list[str]:
        async with Local(str(model), 4) as local:
            return [one.text for one in await asyncio.gather(*map(local.answer, requests))]

    async def one_by_one() -> list[str]:
        async with Local(str(model), 1) as local:
            return [(await local.answer(request)).text for request in requests]

    assert asyncio.run(together()) == asyncio.run(one_by_one())


def test_pieces_add_up_and_long_texts_are_refused(model: Path) -> None:
    async def main() -> None:
        async with Local(str(model), 4) as local:
            request = Request(str(model), (Message("user", "w1 blue follows"),), 4)
            pieces = [piece async for piece in local.stream(request)]
            assert "".join(pieces).split() == ["red"]
            long = Request(str(model), (Message("user", "w1 " * 40),), 4)
            fine, refused = await asyncio.gather(
                local.answer(request), local.answer(long), return_exceptions=True
            )
            assert isinstance(refused, Declined) and "the model holds 32" in str(refused)
            assert not isinstance(fine, BaseException) and fine.text == "red"

    asyncio.run(main())


def test_a_chat_template_is_used(model: Path) -> None:
    async def main() -> None:
        async with Local(str(model), 4) as local:
            local.tokenizer.chat_template = (
                "{{ bos_token }}{% for m in messages %} {{ m['content'] }}{% endfor %}"
                "{% if add_generation_prompt %} follows{% endif %}"
            )
            request = Request(str(model), (Message("user", "w1 w2 w3 green"),), 4)
            assert (await local.answer(request)).text == "blue"
            sampled = [
                Request(str(model), request.messages, 4, temperature=5.0, sample=n)
                for n in range(12)
            ]
            said = [(await local.answer(one)).text for one in sampled]
            assert len(set(said)) > 3
            assert said == [(await local.answer(one)).text for one in sampled]

    asyncio.run(main())


def test_faults_are_one_line(model: Path, tmp_path: Path) -> None:
    test = jsonl(tmp_path / "q.jsonl", [question(0)])
    with pytest.raises(UserError, match="no model folder"):
        BACKEND.run(step(Path("/nowhere"), test), Context(tmp_path))
    long = jsonl(tmp_path / "l.jsonl", [{"prompt": "w1 " * 50, "completion": "x"}, question(1)])
    with pytest.raises(UserError, match=r"line 1: the message takes 66 tokens of 28"):
        BACKEND.check(step(model, long, context_tokens=32), Context(tmp_path))
    (tmp_path / "run").mkdir()
    result = BACKEND.run(step(model, long), Context(tmp_path / "run"))
    assert result.counts["failed"] == 1
    assert json.loads((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()[1])


def test_it_serves(model: Path, tmp_path: Path) -> None:
    test = jsonl(tmp_path / "q.jsonl", [question(0)])
    BACKEND.run(step(model, test), Context(tmp_path))
    service = BACKEND.service(tmp_path)
    assert service is not None

    async def main() -> None:
        async with service as up:
            said = await up.answer((Turn("user", "w1 green follows"),))
            assert said.answer == "blue"
            pieces = [piece async for piece in up.stream((Turn("user", "w1 red follows"),))]
            assert "".join(pieces).strip() == "green"

    asyncio.run(main())
