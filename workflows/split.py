"""Writes the two halves of a plan, proven to compose to the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..graph import split, with_weights
from ..runtime import write_halves
from .planned import LoadedPlan
from .reporter import Reporter


@dataclass(frozen=True, slots=True)
class WrittenHalves:
    """Two folders that hold a graph and weights each.

    Attributes:
        folder: holds `edge` and `cloud`.
        bytes: size of each half.
    """

    folder: Path
    bytes: dict[str, int]

    @property
    def edge(self) -> Path:
        """The device's half."""
        return self.folder / "edge"

    @property
    def cloud(self) -> Path:
        """The cloud's half."""
        return self.folder / "cloud"


def split_plan(planned: LoadedPlan, folder: Path, reporter: Reporter) -> WrittenHalves:
    """Write the halves and check that they compose to the model, bit for bit on the example inputs.

    Raises:
        CollabplanError: they cannot be written, or do not compose.
    """
    with reporter.progress("writing and checking the halves"):
        halves = split(planned.traced, planned.cut)
        if planned.tuned is not None:
            halves = replace(halves, cloud=with_weights(halves.cloud, planned.tuned))
        write_halves(planned.traced, halves, folder, tuned=planned.tuned is not None)
    sizes = {half: sum(file.stat().st_size for file in (folder / half).iterdir()) for half in ("edge", "cloud")}
    return WrittenHalves(folder, sizes)
