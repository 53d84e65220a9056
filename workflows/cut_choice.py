"""Which cuts a command works on: all of them, or those that a user names."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence

from ..graph import Cut, TracedGraph, candidate_cuts, cut_of
from ..records import CollabplanError, CutError
from .defense_options import parts
from .options import FEWEST_CROSSING, MOST_CROSSING
from .reporter import Reporter


def crossing_limit(traced: TracedGraph, wanted: int | None, reporter: Reporter) -> int:
    """How many private tensors may cross one cut: as wanted, else the fewest that leave a cut to search.

    Args:
        traced: the traced model.
        wanted: of `--max-crossing`; None: `FEWEST_CROSSING`, or as many as it takes, up to `MOST_CROSSING`.
        reporter: hears where it takes more.
    """
    if wanted is not None:
        return wanted
    for count in range(FEWEST_CROSSING, MOST_CROSSING + 1):
        if any(_splits(cut) for cut in candidate_cuts(traced, count)):
            if count > FEWEST_CROSSING:
                reporter.note(
                    f"no cut that can be searched and keeps the raw input back is crossed by {count - 1} "
                    f"tensor{'s' * (count > 2)} alone, so up to {count} may cross (--max-crossing {count})"
                )
            return count
    return FEWEST_CROSSING


def _splits(cut: Cut) -> bool:
    """Whether a cut can be searched and sends something else than the raw input."""
    return cut.kind == "proper" and cut.searchable and not cut.sends_raw_input


def further_cuts(traced: TracedGraph, crossing: int) -> str:
    """How to see the cuts that more tensors cross, in one line; "" where there are none."""
    more = len(candidate_cuts(traced, MOST_CROSSING)) - len(candidate_cuts(traced, crossing))
    if crossing >= MOST_CROSSING or more <= 0:
        return ""
    return f"{more} further cuts let up to {MOST_CROSSING} tensors cross; to see them: --max-crossing {MOST_CROSSING}"


def choose_cuts(every: Sequence[Cut], wanted: str, max_crossing: int) -> list[Cut]:
    """The chosen cuts by depth, and the edge-only cut as the floor if it can be measured.

    A plan may have a cut that is no candidate. Its name, tensors joined by ` + `, is accepted too.

    Raises:
        CollabplanError: a name that no cut has, or a cut that cannot be measured.
    """
    names = parts(wanted)
    if not names:
        raise CollabplanError("--cuts is empty; give all, or names as in the table of `collabplan profile`")
    if names == ["all"]:
        return [cut for cut in every if cut.searchable]
    known = {name for cut in every for name in (cut.name, cut.id)}
    for name in names:
        if name not in known:
            with contextlib.suppress(CutError):
                every = [*every, cut_of(every[0].units.traced, name.split(" + "), every)]
                continue
            near = difflib.get_close_matches(name, [cut.name for cut in every], n=3, cutoff=0.4)
            hint = f"near are {', '.join(near)}" if near else f"there are {', '.join(c.name for c in every[:8])}, ..."
            raise CollabplanError(
                f"--cuts has the unknown {name!r}; {hint} (with --max-crossing {max_crossing}: {len(every)} cuts)"
            )
    for cut in every:
        if not cut.searchable and (cut.name in names or cut.id in names):
            raise CollabplanError(f"cut {cut.name} cannot be measured: no row of what crosses belongs to one sample")
    chosen = [cut for cut in every if cut.name in names or cut.id in names]
    floor = [cut for cut in every if cut.kind == "edge-only" and cut.searchable and cut not in chosen]
    return sorted([*chosen, *floor], key=lambda cut: cut.depth)
