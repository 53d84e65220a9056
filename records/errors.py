"""The root exception of collabplan and its kinds.

A message says what was expected, what was found, and what to do next. The command line prints it on one
line and exits with `exit_code`. A traceback appears only with `--debug`.
"""

from __future__ import annotations


class CollabplanError(Exception):
    """Anything that the user can fix. `exit_code` is what the command line returns."""

    exit_code = 2


class BudgetError(CollabplanError):
    """No plan meets the budgets, or a verification failed. The tool worked, and the answer is no."""

    exit_code = 1


class TargetError(CollabplanError):
    """The user's target (file, model, inputs or data) cannot be used as it is."""


class TraceError(CollabplanError):
    """The model cannot be traced into one flat, functional graph."""


class CutError(CollabplanError):
    """A cut that the graph does not have, or that cannot be made."""


class RecordError(CollabplanError):
    """A file that should hold one of our records does not."""


class MismatchError(CollabplanError):
    """A record belongs to another model: its weights, structure or torch version differ."""
