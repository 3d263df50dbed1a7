"""Retention for tests that are about something else."""

from mneme.model import Millis
from mneme.retention import Retention

_CENTURY = Millis(100 * 365 * 24 * 60 * 60 * 1000)

KEEP_ALL = Retention(keep_all=_CENTURY, keep_daily=Millis(0), keep_weekly=Millis(0), max_bytes=0)
"""Nothing is ever pruned."""

KEEP_NONE = Retention(keep_all=Millis(0), keep_daily=Millis(0), keep_weekly=Millis(0), max_bytes=0)
"""Nothing is kept for its age."""
