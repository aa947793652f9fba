"""Weights in fewer bits: the mapping itself, shown on real weights, and models delivered so.

This face and `mapping` are light; `backends.quantization.delivery` imports torch.
"""
