"""A model in this process through transformers: requests that wait together are one batch."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from threading import Thread
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer
from transformers.utils.logging import disable_progress_bar

from backends import weights
from backends.prompting.exchange import Declined, Reply, Request, Usage
from backends.training import precision
from knowledge.errors import UserError

GATHERED = 0.005  # seconds in which requests come together; a batch takes far longer
SAMPLED = 4096  # elements of each tensor that tell models apart


class Local:
    """A causal language model; an async context manager with the face of an endpoint."""

    def __init__(self, model: str, batch_size: int) -> None:
        self.name = model
        self._batch_size = batch_size
        where = weights.local(model)
        disable_progress_bar()
        with weights.loading(model):
            self.tokenizer = AutoTokenizer.from_pretrained(where)
            self.model = AutoModelForCausalLM.from_pretrained(where, use_safetensors=True)
        self.model.to(precision.device()).eval()
        # Answers begin where prompts end, so prompts of one batch have to end together.
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.tokenizer.pad_token is None:
            raise UserError(f"the tokenizer of {model!r} has neither a pad nor an eos token")
        self.identity = f"local:{where}:{_fingerprint(self.model)}"

    async def __aenter__(self) -> "Local":
        self._waiting: asyncio.Queue[tuple[Request, asyncio.Future[Reply]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown()

    async def answer(self, request: Request) -> Reply:
        """The reply to one request.

        Raises:
            Declined: it is longer than the model's window.
        """
        coming: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((request, coming))
        return await coming

    async def stream(self, request: Request) -> AsyncIterator[str]:
        """The reply piece by piece."""
        inputs = self._inputs([request])
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        arguments = {**inputs, **self._how(request), "streamer": streamer}
        thread = Thread(target=self._generate, kwargs=arguments)
        thread.start()
        loop = asyncio.get_running_loop()
        pieces = iter(streamer)
        while (piece := await loop.run_in_executor(None, next, pieces, None)) is not None:
            if piece:
                yield piece
        thread.join()

    async def _work(self) -> None:
        """Answer batch after batch of requests that are decoded alike."""
        loop = asyncio.get_running_loop()
        kept: list[tuple[Request, asyncio.Future[Reply]]] = []
        while True:
            if not kept:
                kept.append(await self._waiting.get())
                await asyncio.sleep(GATHERED)
            while not self._waiting.empty():
                kept.append(self._waiting.get_nowait())
            way = _way(kept[0][0])
            batch = [pair for pair in kept if _way(pair[0]) == way][: self._batch_size]
            taken = {id(coming) for _, coming in batch}
            kept = [pair for pair in kept if id(pair[1]) not in taken]
            requests = [request for request, _ in batch]
            results = await loop.run_in_executor(self._thread, self._answers, requests)
            for (_, coming), result in zip(batch, results, strict=True):
                if coming.done():
                    continue
                if isinstance(result, Reply):
                    coming.set_result(result)
                else:
                    coming.set_exception(result)

    def _answers(self, requests: list[Request]) -> list[Reply | Exception]:
        try:
            return list(self._batch(requests))
        except torch.OutOfMemoryError:
            if len(requests) == 1:
                return [Declined("the model runs out of memory on this one; lower its length")]
            half = len(requests) // 2
            return self._answers(requests[:half]) + self._answers(requests[half:])
        except Declined as error:
            if len(requests) == 1:
                return [error]
            return [self._answers([request])[0] for request in requests]
        except (RuntimeError, ValueError, IndexError) as error:
            line = " ".join(str(error).split())[:200]
            return [UserError(f"{self.name} cannot generate: {line}")] * len(requests)

    def _batch(self, requests: list[Request]) -> list[Reply]:
        begun = perf_counter()
        inputs = self._inputs(requests)
        width = inputs["input_ids"].shape[1]
        # One seed a batch, from its content: the same draw of the same requests on a resume.
        torch.manual_seed(int(requests[0].digest()[:8], 16))
        generated = self._generate(**inputs, **self._how(requests[0]))[:, width:]
        seconds = perf_counter() - begun
        replies = []
        for row, mask in zip(generated.tolist(), inputs["attention_mask"], strict=True):
            ends = [n for n, token in enumerate(row) if token in self._stops()]
            said = row[: ends[0]] if ends else row
            text = self.tokenizer.decode(said, skip_special_tokens=True)
            usage = Usage(int(mask.sum()), len(said) + bool(ends))
            replies.append(Reply(text, usage, not ends, seconds))
        return replies

    def _generate(self, **arguments: Any) -> Any:
        with torch.inference_mode():
            return self.model.generate(**arguments)

    def _inputs(self, requests: list[Request]) -> dict[str, Any]:
        texts = [self._text(request) for request in requests]
        templated = self._templated(requests[0])
        inputs = self.tokenizer(
            texts,
            return_tensors="pt",
            padding=True,
            add_special_tokens=not templated,
            return_token_type_ids=False,
        )
        window = getattr(self.model.config, "max_position_embeddings", None)
        needed = inputs["input_ids"].shape[1] + requests[0].max_tokens
        if window is not None and needed > window:
            raise Declined(f"{needed:,} tokens with the answer; the model holds {window:,}")
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    def _templated(self, request: Request) -> bool:
        return request.face == "chat" and bool(self.tokenizer.chat_template)

    def _text(self, request: Request) -> str:
        if not self._templated(request):
            return request.text
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        )

    def _how(self, request: Request) -> dict[str, Any]:
        drawn = request.temperature > 0
        return {
            "max_new_tokens": request.max_tokens,
            "do_sample": drawn,
            "temperature": request.temperature if drawn else None,
            "top_p": None,
            "top_k": None,
            "pad_token_id": self.tokenizer.pad_token_id,
        }

    def _stops(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        known = ends if isinstance(ends, list) else [ends]
        return {token for token in (*known, self.tokenizer.eos_token_id) if token is not None}


def _way(request: Request) -> tuple[int, float, str]:
    return request.max_tokens, request.temperature, request.face


def _fingerprint(model: Any) -> str:
    """A short hash of a sample of all weights: others in the same folder answer otherwise."""
    digest = blake2b(digest_size=12)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // SAMPLED)].cpu().contiguous()
        digest.update(memoryview(sample.view(torch.uint8).numpy()))
    return digest.hexdigest()
