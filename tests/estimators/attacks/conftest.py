"""Puts the small scenes on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # under pytest's importlib mode a test folder is not on the path
