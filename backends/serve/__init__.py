"""A finished run behind HTTP, with the face of an OpenAI-compatible server.

Light at import; `serve` brings the server in.
"""

from backends.serve.predicting import Predicting

__all__ = ["Predicting"]
