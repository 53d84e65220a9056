"""Originals beside what attackers made of them, as PNG in data URIs. The first originals are shown, never the best."""

from __future__ import annotations

import base64
import io
import re
import shlex
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..attacks.galleries import Gallery, Levels
from ..records import AttackResult, Plan
from .decision import down, up
from .document import Condition, PictureRow, Pictures
from .tables import is_undefended
from .wording import RETURNED

SHOWN = 8
"""Pictures in a row."""

CELL = 64
"""Pixels along the longer side of a picture: smaller ones are enlarged by a whole factor, larger ones are reduced."""

LARGEST = 112
MOST_LETTERS = 3_000_000
"""Letters that all rows may take: the file stays below 5 MB. Weaker attackers are left out first."""


def pictures_of(plan: Plan, galleries: Sequence[Gallery]) -> Pictures:
    """What the galleries show at the plan, and at its cut without a defense and under dropout.

    Args:
        plan: the plan.
        galleries: of the plan's model; others are left out.
    """
    found = shown_galleries(plan, galleries)
    first = found.get("The plan") or next(iter(found.values()), None)
    original = None if first is None else _row(first.originals)
    room = MOST_LETTERS - len(original or "")
    conditions = []
    for name, gallery in found.items():
        made, room = _condition(name, gallery, room)
        conditions.append(made)
    count = 0 if first is None else min(SHOWN, len(first.originals))
    return Pictures(count=count, original=original, conditions=tuple(conditions), how=_how(plan, set(found)))


def shown_galleries(plan: Plan, galleries: Sequence[Gallery]) -> dict[str, Gallery]:
    """By condition, the gallery whose attackers recovered most: no defense, dropout, the plan, the answer alone.

    All are of the same originals: those of which the plan and the most other conditions were attacked.

    Args:
        plan: the plan, whose cut is meant.
        galleries: of the plan's model; others are left out.
    """
    by_originals: dict[tuple[bytes, tuple[int, ...]], list[Gallery]] = {}
    for each in galleries:
        if each.model == plan.model:
            by_originals.setdefault((each.originals.tobytes(), each.originals.shape), []).append(each)
    found = [_conditions(plan, some) for some in by_originals.values()]
    return max(found, key=lambda each: ("The plan" in each, len(each)), default={})


def _conditions(plan: Plan, own: Sequence[Gallery]) -> dict[str, Gallery]:
    """`shown_galleries` of galleries of the plan's model and the same originals."""
    here = [each for each in own if each.audit.cut_id == plan.cut_id]
    bare = [each for each in here if each.tuned_hash is None]
    dropout = [each for each in bare if _is_dropout(each) and not is_plans(plan, each)]
    wanted = {
        "No defense": [each for each in bare if is_undefended(each.audit.defense)],
        "Dropout": [
            each for each in dropout if each.audit.defense.rate == max(one.audit.defense.rate for one in dropout)
        ],
        "The plan": [each for each in here if is_plans(plan, each)],
        "The network's answer alone": [each for each in own if each.audit.cut_kind == "edge-only"],
    }
    return {name: worst for name, some in wanted.items() if (worst := _strongest(some)) is not None}


def is_plans(plan: Plan, gallery: Gallery) -> bool:
    """Whether a gallery is of the plan's own cut, defense and weights."""
    tuned = None if plan.tuned_weights is None else plan.tuned_weights.sha256
    same = gallery.audit.cut_id == plan.cut_id and gallery.audit.defense.unfitted == plan.defense.unfitted
    return same and gallery.tuned_hash == tuned


def _is_dropout(gallery: Gallery) -> bool:
    defense = gallery.audit.defense
    return defense.dropout is not None and is_undefended(defense.without("dropout"))


def _strongest(galleries: Sequence[Gallery]) -> Gallery | None:
    """The gallery whose attackers recovered most."""
    shown = [each for each in galleries if each.pictures]
    return max(shown, key=lambda each: max(_index(result) for result in each.audit.attacks), default=None)


def strongest_row(gallery: Gallery) -> Levels:
    """What the strongest attacker of a gallery made of its originals, `[n, C, H, W]`."""
    shown = [each for each in gallery.audit.attacks if each.attack in gallery.pictures]
    return gallery.pictures[max(shown, key=_index).attack]


def _index(result: AttackResult) -> float:
    return -1.0 if result.figures is None else result.figures.index.value


def _condition(name: str, gallery: Gallery, room: int) -> tuple[Condition, int]:
    audit = gallery.audit
    results = sorted((each for each in audit.attacks if each.attack in gallery.pictures), key=_index, reverse=True)
    rows: list[PictureRow] = []
    for result in results:
        image = _row(gallery.pictures[result.attack])
        if len(image) > room:
            break
        room -= len(image)
        index = None if result.figures is None else result.figures.index.value
        failed = result.reason if result.status == "failed" else ""
        outrun = result.status == "outrun"
        rows.append(PictureRow(attack=result.attack, index=index, failed=failed, outrun=outrun, image=image))
    rate = audit.tiers[-1].reconstruction_rate if audit.tiers else None
    recognisable = ""
    if rate is not None and audit.effort == "quick":
        recognisable = f"at least {down(rate.value)} of 100 recognisable"
    elif rate is not None:
        recognisable = f"up to {up(rate.high)} of 100 recognisable"
    made = Condition(
        name=name,
        cut=audit.cut_name,
        defense=_defense_text(audit.defense.unfitted.text),
        effort=audit.effort,
        recognisable=recognisable,
        rows=tuple(rows),
        left_out=len(results) - len(rows),
    )
    return made, room


def _defense_text(text: str) -> str:
    """A defense in words where it is what the service returns, which no `--defense` names."""
    found = re.match(r"declared-output:returns=(\S+)", text)
    return text if found is None else RETURNED.get(found.group(1), text)


def _how(plan: Plan, found: set[str]) -> tuple[str, ...]:
    """The commands that make the pictures which are missing."""
    if plan.unattackable is not None:
        return ()
    made = []
    if "The plan" not in found and plan.cut_kind == "proper":
        made.append("collabplan attack plan.json")
    defenses = [
        text for name, text in (("No defense", "none"), ("Dropout", "dropout:element:0.9")) if name not in found
    ]
    if defenses and plan.cut_kind == "proper":
        model = plan.portable().target.spec
        given = " ".join(f"--defense {text}" for text in defenses)
        made.append(f"collabplan attack {shlex.quote(model)} --cuts {shlex.quote(plan.cut_name)} {given}")
    return tuple(made)


def _row(images: Levels) -> str:
    """The first images side by side, as a data URI."""
    cells = [_cell(image) for image in images[:SHOWN]]
    gap = np.full((cells[0].shape[0], 4, 4), 0, dtype=np.uint8)
    joined: list[Levels] = []
    for at, cell in enumerate(cells):
        joined += [gap] * (at > 0) + [cell]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(joined, axis=1)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _cell(image: Levels) -> Levels:
    """One image `[C, H, W]` as `[H, W, 4]`, enlarged or reduced."""
    colours = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    made = Image.fromarray(np.ascontiguousarray(colours)).convert("RGBA")
    longer = max(made.size)
    if longer < CELL:
        factor = -(-CELL // longer)
        made = made.resize((made.width * factor, made.height * factor), Image.Resampling.NEAREST)
    elif longer > LARGEST:
        made.thumbnail((LARGEST, LARGEST))
    return np.asarray(made)
