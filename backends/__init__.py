"""What runs a plan: one folder a backend, reached by the name in its method's row.

Importing this package is light; torch and its friends come only when a backend runs.
"""

import logging

from backends.base import load

# It complains about optional kernels while it is being imported, so this cannot wait.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__all__ = ["load"]
