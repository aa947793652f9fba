"""What runs a plan: one folder a backend, reached by the name in its method's row.

Importing this package is light; torch and its friends come only when a backend runs.
"""

from backends.base import load

__all__ = ["load"]
