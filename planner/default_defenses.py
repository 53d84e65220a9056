"""What is looked at where nothing is said. Imports nothing: the command line reads it before anything heavy."""

from __future__ import annotations

DROPOUT_RATES = "0.1..0.9/0.2"
"""The rates of every command that is told none."""

EARLY_DEFENSES = ("none", f"dropout:element:{DROPOUT_RATES}")
"""What `leakage` and `attack` look at; both tables then have the same rows."""

DEFAULT_DEFENSES = (*EARLY_DEFENSES, f"dropout:channel:{DROPOUT_RATES}")
"""What a search chooses from."""
