"""Fits that several attacks and audits need, made once."""

from __future__ import annotations

from ..records import hash_json
from .adversary_view import AdversaryView
from .audit_keys import fit_key, fit_seed
from .interface import Attack, Attacker, Effort


def fitted_once(attack: Attack, view: AdversaryView, effort: Effort) -> Attacker:
    """The fitted attack, from `view.artifacts` if it was fitted before.

    An attacker that believes in no dropout and no noise learns the same at every rate: it is kept as long as audits
    stay at one cut. Another one is kept as long as they stay at one defense.

    Args:
        attack: what is fitted.
        view: what it learns from.
        effort: how much work it may spend.

    Raises:
        AttackFailed: it cannot be fitted.
    """
    believed, cut = view.believed, view.target.cut.id
    key, seed = fit_key(attack, believed, view.auxiliary, effort), fit_seed(attack, believed, view.auxiliary)
    within = ""
    if view.copies is not None or believed.randomizes:
        key, seed = (hash_json([each, view.queries, str(view.copies or "")]) for each in (key, seed))
    if believed.randomizes:
        within = hash_json(view.target.record.model_dump(mode="json"))
    return view.artifacts.once(key, lambda draws: attack.fit(view, effort, draws), at=cut, within=within, draws_as=seed)
