"""Steps as the libraries take them: training as transformers' Trainer does, generation as
`generate` does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from backends.dryrun import Request
from backends.dryrun.autocast import CudaAutocast
from backends.dryrun.bundle import Bundle, bare
from backends.dryrun.filling import filled
from backends.dryrun.live import Recorder
from backends.dryrun.optimizers import Update, optimizer
from backends.dryrun.sharding import sharded
from backends.dryrun.watch import named_modules, windows

Loss = Callable[[], torch.Tensor]


@contextmanager
def watched(bundle: Bundle, recorder: Recorder) -> Iterator[None]:
    """Fill the models; within, everything they do is recorded by window and module."""
    with ExitStack() as stack:
        stack.enter_context(recorder)
        filled(recorder, bundle)
        recorder.hold_library()
        if bundle.request.sharding == "fsdp":
            stack.enter_context(sharded(bundle, recorder))
        stack.enter_context(named_modules(recorder, bundle.models))
        for role, model in bundle.models.items():
            stack.enter_context(windows(recorder, model, bundle.layers, role))
            if hasattr(bare(model), "config"):
                bare(model).config.use_cache = False
        yield


@contextmanager
def precision(request: Request, recorder: Recorder) -> Iterator[None]:
    """Within, operators compute as autocast has them, if the job asks."""
    if not request.autocast:
        yield
        return
    with ExitStack() as stack:
        if recorder.as_cuda:
            stack.enter_context(CudaAutocast())
        stack.enter_context(torch.autocast(recorder.device, torch.bfloat16))
        yield


def training(bundle: Bundle, recorder: Recorder, loss: Callable[[Recorder], Loss]) -> None:
    """One optimizer step with states there already: forward, loss, backward, update."""
    with watched(bundle, recorder):
        update = begun(bundle, recorder)
        compute = loss(recorder)
        for _ in steps(recorder):
            stepped(bundle, recorder, update, compute)


def steps(recorder: Recorder) -> Iterator[int]:
    """The steps to run; only the last is recorded, and what lies between it and the next."""
    for number in range(recorder.steps):
        recorder.forget()
        recorder.mark("static")
        yield number
    recorder.mark("static")


def begun(bundle: Bundle, recorder: Recorder) -> Update:
    """The optimizer with its states, and models in the mode for training."""
    for role, model in bundle.models.items():
        model.train(role in ("", "value"))
    update = optimizer(bundle)
    update.warm(recorder)
    recorder.hold_library()  # the backward pass has a thread of its own
    return update


def stepped(bundle: Bundle, recorder: Recorder, update: Update, loss: Loss) -> None:
    """Forward and backward pass of a loss, and the update."""
    since = recorder.serial
    recorder.mark("forward")
    with precision(bundle.request, recorder):
        value = loss()
    recorder.call_alive("saved activations", since)
    recorder.mark("loss backward")
    recorder.backward = True
    value.backward()
    recorder.backward = False
    for model in bundle.models.values():
        for name, parameter in model.named_parameters():
            recorder.call(parameter.grad, "gradients", name.rpartition(".")[0])
    update.step(recorder)


def inference(bundle: Bundle, recorder: Recorder) -> None:
    """The prompt in one pass, then the last of the new tokens with all others in the cache."""
    bundle.model.eval()
    with watched(bundle, recorder):
        request = bundle.request
        for _ in steps(recorder):
            generation(bundle, recorder, request.micro_batch, request.seq_len, request.new_tokens)


def generation(bundle: Bundle, recorder: Recorder, batch: int, prompt: int, new: int) -> None:
    """Prefill, and the last step of decoding.

    Encoders have one pass and no cache. Logits are of the last token alone, as `generate` asks.
    """
    model: Any = bundle.model
    pair = bool(getattr(bundle.base.config, "is_encoder_decoder", False))
    with torch.no_grad(), precision(bundle.request, recorder):
        ids = torch.zeros((batch, prompt), dtype=torch.long, device=recorder.device)
        recorder.mark("forward")
        if not bundle.base.can_generate():
            model(input_ids=ids)
            return
        start: dict[str, Any] = {"decoder_input_ids": ids[:, :1]} if pair else {"logits_to_keep": 1}
        outputs = model(input_ids=ids, use_cache=True, **start)
        outputs.logits[:, -1].float()
        cache = outputs.past_key_values
        encoded = {"encoder_outputs": (outputs.encoder_last_hidden_state,)} if pair else {}
        del outputs
        if not new:
            return
        if new > 1:
            _grown(cache, new - 1)
        one = {"decoder_input_ids": ids[:, :1]} if pair else {"input_ids": ids[:, :1]}
        recorder.phase += "decode: "
        recorder.mark("forward")
        model(**one, **encoded, past_key_values=cache, use_cache=True)
        recorder.phase = recorder.phase.removesuffix("decode: ")


def _grown(cache: Any, tokens: int) -> None:
    """Append tokens to every layer of a cache, as so many decoding steps would."""
    own = getattr(cache, "self_attention_cache", cache)
    for number, layer in enumerate(own.layers):
        shape = list(layer.keys.shape)
        shape[-2] = tokens
        keys = layer.keys.new_empty(shape)
        shape[-1] = layer.values.shape[-1]
        own.update(keys, layer.values.new_empty(shape), number)
