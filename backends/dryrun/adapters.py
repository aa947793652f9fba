"""The adapters of each method, as PEFT makes them, put on a model of the meta device.

Sizes that a job does not name come from the method's row: rank, block, tokens.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import peft
import torch
from peft.tuners.adalora import AdaLoraModel
from peft.tuners.boft import layer as boft
from torch import nn

from backends.dryrun import Request
from backends.dryrun.models import DTYPES
from backends.dryrun.targets import modules, norms
from backends.peft.bottleneck import Bottleneck, insert
from knowledge.errors import UserError
from knowledge.methods import Method


def adapted(request: Request, model: Any, method: Method) -> nn.Module:
    """The model with a method's adapter; only that trains.

    Raises:
        UserError: nothing here makes the method's adapter, or it does not go with the model.
    """
    if method.id in BOTTLENECKS:
        return _bottlenecks(request, model, method)
    if method.id not in MAKERS:
        known = ", ".join(sorted((*MAKERS, *BOTTLENECKS)))
        raise UserError(f"the method {method.id!r} cannot be traced; adapters that can: {known}")
    config = MAKERS[method.id](Wanted(request, model, method))
    config.task_type = _task(model)
    if isinstance(config, peft.PromptLearningConfig) and config.task_type is None:
        raise UserError(f"PEFT has no {method.id!r} for a {type(model).__name__}")
    model = put(request, model, config)
    if method.id == "lora-fa":
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:
                parameter.requires_grad_(False)
    return model


def after_update(model: Any) -> Callable[[], None]:
    """What users of an adapter call after each update: AdaLoRA's importance of each parameter."""
    tuner = getattr(model, "base_model", None)
    if isinstance(tuner, AdaLoraModel):
        return lambda: tuner.rankallocator.update_ipt(tuner.model)
    return lambda: None


def _bottlenecks(request: Request, model: Any, method: Method) -> nn.Module:
    """Our own adapters, in fp32 unless told, as PEFT's are."""
    width = request.adapter_width or int(method.defaults.get("width", 64))
    settings = msgspec.structs.replace(BOTTLENECKS[method.id], width=width)
    insert(model, settings, DTYPES[request.adapter_dtype or "fp32"])
    if _task(model) == "SEQ_CLS":  # a new head trains too
        for name, parameter in model.named_parameters():
            if not name.startswith(f"{model.base_model_prefix}."):
                parameter.requires_grad_(True)
    trained: nn.Module = model
    return trained


class Wanted:
    """What an adapter's configuration is made from."""

    def __init__(self, request: Request, model: Any, method: Method) -> None:
        self.request, self.model, self.method = request, model, method

    @property
    def rank(self) -> int:
        """The job's rank, or the method's usual one."""
        return self.request.lora_rank or self.size("rank", 16)

    @property
    def tokens(self) -> int:
        """Trained tokens."""
        return self.request.virtual_tokens or self.size("tokens", 20)

    @property
    def targets(self) -> list[str]:
        """Full names of the linears that are changed."""
        return modules(self.model, self.request.lora_targets or self.method.targets)

    def size(self, name: str, default: int) -> int:
        """A size of the method's row."""
        return int(self.method.defaults.get(name, default))


def _ia3(w: Wanted) -> peft.PeftConfig:
    words = (w.request.lora_targets or w.method.targets).split(",")
    inner = modules(w.model, "down") if "down" in words else []
    return peft.IA3Config(target_modules=w.targets, feedforward_modules=inner)


def _adalora(w: Wanted) -> peft.PeftConfig:
    return peft.AdaLoraConfig(init_r=w.rank, target_r=8, total_step=1000, target_modules=w.targets)


def _lora(**more: Any) -> Callable[[Wanted], peft.PeftConfig]:
    def make(w: Wanted) -> peft.PeftConfig:
        return peft.LoraConfig(
            r=w.rank,
            lora_alpha=2 * w.rank,
            lora_dropout=w.request.lora_dropout,
            target_modules=w.targets,
            **more,
        )

    return make


def _osf(w: Wanted) -> peft.PeftConfig:
    """PEFT counts the directions that stay, a job those that train."""
    sizes = dict(w.model.named_modules())
    kept = {name: min(sizes[name].weight.shape) - w.rank for name in w.targets}
    return peft.OSFConfig(
        effective_rank=max(kept.values()), rank_pattern=kept, target_modules=w.targets
    )


def _fourierft(w: Wanted) -> peft.PeftConfig:
    return peft.FourierFTConfig(n_frequency=w.size("block", 1000), target_modules=w.targets)


def _vblora(w: Wanted) -> peft.PeftConfig:
    block = w.size("block", 256)
    return peft.VBLoRAConfig(
        r=w.rank, num_vectors=block, vector_length=block, target_modules=w.targets
    )


def _shira(w: Wanted) -> peft.PeftConfig:
    config = peft.ShiraConfig(r=w.rank, target_modules=w.targets)
    config.mask_fn = lambda base, r, **_: torch.ones(r * (base.in_features + base.out_features), 1)
    return config


def _adaption(w: Wanted) -> peft.PeftConfig:
    config = w.model.config
    return peft.AdaptionPromptConfig(
        adapter_len=w.tokens, adapter_layers=config.num_hidden_layers, task_type="CAUSAL_LM"
    )


def _p_tuning(w: Wanted) -> peft.PeftConfig:
    hidden = w.model.get_input_embeddings().embedding_dim
    return peft.PromptEncoderConfig(num_virtual_tokens=w.tokens, encoder_hidden_size=hidden)


MAKERS: Mapping[str, Callable[[Wanted], peft.PeftConfig]] = {
    "lora": _lora(),
    "qlora": _lora(),
    "lora-fa": _lora(),
    "dora": _lora(use_dora=True),
    "adalora": _adalora,
    "ia3": _ia3,
    "loha": lambda w: peft.LoHaConfig(r=w.rank, target_modules=w.targets),
    "lokr": lambda w: peft.LoKrConfig(r=w.rank, target_modules=w.targets),
    "vera": lambda w: peft.VeraConfig(r=w.rank, target_modules=w.targets),
    "randlora": lambda w: peft.RandLoraConfig(r=w.rank, target_modules=w.targets),
    "fourierft": _fourierft,
    "c3a": lambda w: peft.C3AConfig(block_size=w.size("block", 64), target_modules=w.targets),
    "miss": lambda w: peft.MissConfig(r=w.rank, target_modules=w.targets),
    "shira": _shira,
    "vblora": _vblora,
    "road": lambda w: peft.RoadConfig(target_modules=w.targets),
    "oft": lambda w: peft.OFTConfig(
        oft_block_size=w.size("block", 32), target_modules=w.targets
    ),
    "boft": lambda w: peft.BOFTConfig(
        boft_block_size=w.size("block", 4), target_modules=w.targets
    ),
    "osf": _osf,
    "ln-tuning": lambda w: peft.LNTuningConfig(target_modules=norms(w.model)),
    "trainable-tokens": lambda w: peft.TrainableTokensConfig(token_indices=list(range(w.tokens))),
    "soft-prompt": lambda w: peft.PromptTuningConfig(num_virtual_tokens=w.tokens),
    "p-tuning": _p_tuning,
    "prefix": lambda w: peft.PrefixTuningConfig(num_virtual_tokens=w.tokens),
    "llama-adapter": _adaption,
}  # fmt: skip


BOTTLENECKS = {
    "adapter-sequential": Bottleneck(form="sequential", after="both"),
    "adapter-parallel": Bottleneck(form="parallel", after="feed-forward"),
}


def put(request: Request, model: Any, config: peft.PeftConfig) -> nn.Module:
    """PEFT's adapter on a model; PEFT holds adapters of 16-bit models in fp32 unless told.

    Raises:
        UserError: PEFT refuses, with its reason.
    """
    upcast = request.adapter_dtype in (None, "fp32")
    with warnings.catch_warnings(), on_meta_data():
        warnings.simplefilter("ignore")
        try:
            adapted: nn.Module = peft.get_peft_model(
                model, config, autocast_adapter_dtype=upcast, low_cpu_mem_usage=True
            )
        except (ValueError, TypeError, NotImplementedError, KeyError, RuntimeError) as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"PEFT cannot put {request.method!r} on this model: {line}") from error
    return adapted


@contextmanager
def on_meta_data() -> Iterator[None]:
    """Within, what adapters draw at random when they are made has shapes only.

    BOFT's own CUDA kernel, which is compiled where a compiler is, is taken to be absent.
    """

    def square(_: Any, indices: torch.Tensor) -> torch.Tensor:
        return torch.empty(len(indices), len(indices))

    with (
        torch.device("meta"),
        patch.object(torch.fx.experimental._config, "meta_nonzero_assume_all_nonzero", True),
        patch.object(boft, "get_fbd_cuda", lambda: None),
        patch.object(boft.BOFTLayer, "perm2mat", square),
    ):
        yield


def _task(model: Any) -> str | None:
    """PEFT's word for what the model is for; a new head then trains beside the adapter."""
    ends = {
        "ForSequenceClassification": "SEQ_CLS", "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM", "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    }  # fmt: skip
    name = type(model).__name__
    return next((task for end, task in ends.items() if name.endswith(end)), None)
