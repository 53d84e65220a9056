"""Which cuts a command works on: all of them, or those that a user names."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence

from ..graph import Cut, cut_of
from ..records import CollabplanError, CutError
from .defense_options import parts


def choose_cuts(every: Sequence[Cut], wanted: str, max_crossing: int) -> list[Cut]:
    """The cuts of `--cuts` by depth, and the edge-only one, where it can be measured: it is the floor.

    A name may also be that of a cut which is no candidate, as a plan may have it: tensors joined by ` + `.

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
