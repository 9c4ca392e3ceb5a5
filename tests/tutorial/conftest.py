"""The lessons' own code lives in dev/, which is on no path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "dev"))
