"""Weights in fewer bits: the mapping itself, shown on real weights, and models delivered so.

This face is light; `mapping` needs numpy, `delivery` torch, transformers and bitsandbytes.
"""

from importlib.util import find_spec

from knowledge.errors import UserError


def require() -> None:
    """Raise `UserError` when what reads and maps weights is not installed."""
    missing = [name for name in ("numpy", "safetensors") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"quantization needs {', '.join(missing)}; "
            "install it with: pip install 'llm-advisor[run]'"
        )
