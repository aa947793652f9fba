"""Texts drawn from a decoder."""

from typing import Any

import torch

from backends.scratch import Settings
from backends.training import precision

AT_ONCE = 64


def drawn(
    model: Any, tokenizer: Any, settings: Settings, begin: list[int], count: int
) -> list[str]:
    """Texts that a decoder writes by chance, each to its end or the longest allowed.

    Args:
        begin: the tokens that each goes on from, one at least; they are not part of the text,
            but those of `settings.prompt` are.
    """
    model.eval()
    limit = int(getattr(model.config, "max_position_embeddings", 0) or 2**20)
    prompt = tokenizer(settings.prompt, add_special_tokens=False)["input_ids"]
    room = min(settings.sample_tokens, limit - len(begin) - len(prompt))
    texts: list[str] = []
    place = model.device
    with torch.inference_mode(), precision.autocast(False):
        for start in range(0, count, AT_ONCE):
            rows = min(AT_ONCE, count - start)
            ids = torch.tensor([[*begin, *prompt]] * rows, device=place)
            written = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=settings.temperature,
                top_k=settings.top_k,
                max_new_tokens=max(1, room),
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            for row in written[:, len(begin) :].tolist():
                end = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else None
                texts.append(tokenizer.decode(row[:end], skip_special_tokens=True))
    return texts


def beginning(tokenizer: Any, documents: int) -> list[int]:
    """The tokens that a new text begins after: the end of one, where the corpus had several."""
    if documents > 1:
        return [int(tokenizer.eos_token_id)]
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return [int(token) for token in newline] or [int(tokenizer.eos_token_id)]
