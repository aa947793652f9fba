"""advisor/report."""
