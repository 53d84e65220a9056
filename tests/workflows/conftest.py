"""Searches without waiting for the disk."""

import quick_sqlite  # noqa: F401
