"""The one root exception of collabplan and its few kinds.

A message says what was expected, what came and what to do next. The command line prints it on one
line and exits with `exit_code`; a traceback appears only with `--debug`.
"""

from __future__ import annotations


class CollabplanError(Exception):
    """Anything the user can mend. `exit_code` is what the command line returns."""

    exit_code = 2


class BudgetError(CollabplanError):
    """No plan meets the budgets, or a verification failed: the tool worked, the answer is no."""

    exit_code = 1


class TargetError(CollabplanError):
    """The user's target (file, model, inputs or data) cannot be used as it is."""


class TraceError(CollabplanError):
    """The model cannot be turned into one flat, functional graph."""


class CutError(CollabplanError):
    """A cut that the graph does not have, or that cannot be made."""


class RecordError(CollabplanError):
    """A file that should hold one of our records does not."""


class MismatchError(CollabplanError):
    """A record belongs to another model: other weights, another structure, another torch."""
