"""Tokens on disk, and batches out of them: packed, in an order that depends on the seed alone."""

from backends.scratch.stream.batches import Source, Stream, whole
from backends.scratch.stream.shards import Shards, open_shards, write_shards

__all__ = ["Shards", "Source", "Stream", "open_shards", "whole", "write_shards"]
