"""No test learns from the user's own runs, or adds to them; a busy machine fails none."""

import os

from hypothesis import settings

os.environ["ADVISOR_CALIBRATION"] = "off"  # for processes that tests start, too
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
