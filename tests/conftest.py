"""No test learns from the user's own runs, or adds to them."""

import os

os.environ["ADVISOR_CALIBRATION"] = "off"  # for processes that tests start, too
