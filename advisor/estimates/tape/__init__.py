"""Passes through a model that count bytes: tensors, the graph, layers, blocks, whole passes."""
