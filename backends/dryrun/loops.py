"""Steps as the libraries take them: training as transformers' Trainer does, generation as
`generate` does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from backends.dryrun import Request
from backends.dryrun.filling import filled
from backends.dryrun.likeness import CudaAutocast
from backends.dryrun.live import Recorder
from backends.dryrun.optimizers import optimizer
from backends.dryrun.watch import named_modules, windows

Step = Callable[[], torch.Tensor]


def batch(request: Request, model: nn.Module) -> dict[str, torch.Tensor]:
    """Token ids without padding, and their labels: shapes (B, S)."""
    shape = (request.micro_batch, request.seq_len)
    ids = torch.zeros(shape, dtype=torch.long)
    if request.method == "head-ft":
        return {"input_ids": ids, "labels": torch.zeros(shape[0], dtype=torch.long)}
    return {"input_ids": ids, "labels": torch.zeros(shape, dtype=torch.long)}


@contextmanager
def precision(request: Request) -> Iterator[None]:
    """Within, operators compute as autocast on CUDA would have them, if the job asks."""
    if not request.autocast:
        yield
        return
    with CudaAutocast(), torch.autocast("cpu", torch.bfloat16):
        yield


def training(
    request: Request, model: nn.Module, layers: tuple[int, ...], recorder: Recorder
) -> None:
    """One optimizer step with states there already: forward, loss, backward, update."""
    filled(recorder, {"": model})
    model.train()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.config.use_cache = False
    with ExitStack() as stack:
        stack.enter_context(recorder)
        stack.enter_context(named_modules(recorder, {"": model}))
        stack.enter_context(windows(recorder, model, layers))
        update = optimizer(request, model)
        update.warm(recorder)
        inputs = batch(request, model)
        recorder.forget()
        recorder.mark("static")
        recorder.mark("forward")
        one_step(request, recorder, model, lambda: _loss(request, model, inputs))
        update.step(recorder)
        recorder.mark("static")


def one_step(request: Request, recorder: Recorder, model: nn.Module, loss: Step) -> None:
    """Forward and backward pass of a loss; gradients are left in place."""
    since = recorder.serial
    with precision(request):
        value = loss()
    recorder.call_alive("saved activations", since)
    recorder.mark("loss backward")
    recorder.backward = True
    value.backward()
    recorder.backward = False
    for name, parameter in model.named_parameters():
        recorder.call(parameter.grad, "gradients", name.rpartition(".")[0])


def _loss(request: Request, model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    outputs = model(**inputs)
    if request.autocast:  # accelerate hands outputs on in fp32
        outputs = {
            key: value.float() if torch.is_tensor(value) and value.is_floating_point() else value
            for key, value in outputs.items()
        }
    loss: torch.Tensor = outputs["loss"]
    return loss


def generation(
    request: Request, model: nn.Module, layers: tuple[int, ...], recorder: Recorder
) -> None:
    """The prompt in one pass, then the last of the new tokens with all others in the cache."""
    filled(recorder, {"": model})
    model.eval()
    config: Any = model.config
    cached = bool(getattr(config, "is_encoder_decoder", False)) or hasattr(model, "lm_head")
    cached = model.can_generate() if hasattr(model, "can_generate") else cached
    with ExitStack() as stack:
        stack.enter_context(recorder)
        stack.enter_context(named_modules(recorder, {"": model}))
        stack.enter_context(windows(recorder, model, layers))
        stack.enter_context(torch.no_grad())
        stack.enter_context(precision(request) if request.autocast else nullcontext())
        ids = torch.zeros((request.micro_batch, request.seq_len), dtype=torch.long)
        recorder.forget()
        recorder.mark("static")
        recorder.mark("forward")
        pair = bool(getattr(config, "is_encoder_decoder", False))
        if not cached:
            model(input_ids=ids)
            return
        start: dict[str, Any] = {"decoder_input_ids": ids[:, :1]} if pair else {"logits_to_keep": 1}
        outputs = model(input_ids=ids, use_cache=True, **start)
        outputs.logits[:, -1].float()
        cache = outputs.past_key_values
        encoded = {"encoder_outputs": (outputs.encoder_last_hidden_state,)} if pair else {}
        del outputs
        recorder.mark("static")
        if request.new_tokens > 1:
            _grown(cache, request.new_tokens - 1)
        if request.new_tokens:
            one = {"decoder_input_ids": ids[:, :1]} if pair else {"input_ids": ids[:, :1]}
            recorder.mark("decode")
            recorder.backward = True  # keep the windows of the prefill apart
            model(**one, **encoded, past_key_values=cache, use_cache=True)
            recorder.backward = False


def _grown(cache: Any, tokens: int) -> None:
    """Append tokens to every layer of a cache, as so many decoding steps would."""
    own = getattr(cache, "self_attention_cache", cache)
    for number, layer in enumerate(own.layers):
        shape = list(layer.keys.shape)
        shape[-2] = tokens
        keys = layer.keys.new_empty(shape)
        shape[-1] = layer.values.shape[-1]
        own.update(keys, layer.values.new_empty(shape), number)
