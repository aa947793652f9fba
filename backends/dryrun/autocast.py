"""Autocast as CUDA has it: which operators compute in fp32 is another list than the processor's."""

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LOW = (torch.float16, torch.bfloat16)


class CudaAutocast(TorchFunctionMode):
    """Computes in fp32 what autocast computes in fp32 on CUDA, but not on CPU.

    Source: https://pytorch.org/docs/stable/amp.html#cuda-ops-that-can-autocast-to-float32
    """

    OPS = frozenset(
        "exp log log1p pow __pow__ __rpow__ rsqrt reciprocal layer_norm group_norm softmax "  # noqa: SIM905
        "log_softmax norm cross_entropy nll_loss mse_loss kl_div softplus logsumexp "
        "cosine_similarity l1_loss smooth_l1_loss huber_loss "
        "binary_cross_entropy_with_logits".split()
    )
    REDUCTIONS = frozenset(("sum", "prod", "cumsum"))
    """These read 16 bits and add up in fp32."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if name in self.REDUCTIONS and args and args[0].dtype in LOW:
            return func(*args, **({"dtype": torch.float32} | kwargs))
        if name in self.OPS:
            fused = _into_fp32(name, args, kwargs)
            if fused is not None:
                return fused
            args = tuple(_in_fp32(value) for value in args)
            kwargs = {key: _in_fp32(value) for key, value in kwargs.items()}
        return func(*args, **kwargs)


def _into_fp32(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A softmax, or a loss of one, that reads 16 bits and writes fp32; None: another operator."""
    if name not in ("softmax", "log_softmax", "cross_entropy") or kwargs.get("label_smoothing"):
        return None
    if not args or args[0].dtype not in LOW or kwargs.get("dtype") is not None:
        return None
    values = args[0]
    if name == "softmax":
        return torch._softmax(values, args[1] if len(args) > 1 else kwargs["dim"], True)
    if name == "log_softmax":
        return _LogSoftmax.apply(values)
    said = {key: kwargs[key] for key in ("weight", "ignore_index", "reduction") if key in kwargs}
    target = args[1] if len(args) > 1 else kwargs["target"]
    return functional.nll_loss(_LogSoftmax.apply(values), target, **said)


class _LogSoftmax(torch.autograd.Function):
    """fp32 out of 16 bits and back; torch's own stand-in for fakes knows fp16 alone."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        out = values.new_empty(values.shape, dtype=torch.float32)
        ctx.save_for_backward(out)
        ctx.dtype = values.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0].new_empty(grads[0].shape, dtype=ctx.dtype)


def _in_fp32(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in LOW:
        return value.float()
    return value
