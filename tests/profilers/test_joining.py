"""Profiles of two machines are joined where they are of one model, and refused where they are not."""

from typing import Any

import pytest
from collabplan.profilers import join
from collabplan.records import MismatchError, Profile


def one_sided(profile: Profile, role: str, **changes: Any) -> Profile:
    absent = {"edge": "cloud", "cloud": "edge"}[role]
    cuts = tuple(cut.model_copy(update={absent: None}) for cut in profile.cuts)
    return profile.model_copy(update={"role": role, "cuts": cuts, **changes})


def test_one_profile_serves_both_sides(profile: Profile) -> None:
    joined = join(profile)
    assert [found.cut for found in joined] == list(profile.cuts)
    assert all((found.edge, found.cloud) == (found.cut.edge, found.cut.cloud) for found in joined)
    assert joined.batch == profile.batch


def test_two_profiles_give_prefix_and_suffix(profile: Profile) -> None:
    joined = join(one_sided(profile, "edge"), one_sided(profile, "cloud"))
    for cut in profile.cuts:
        assert joined.cuts[cut.id].edge == cut.edge
        assert joined.cuts[cut.id].cloud == cut.cloud


def test_interpolation_on_either_side_is_kept(profile: Profile) -> None:
    cloud = one_sided(profile, "cloud")
    cuts = tuple(cut.model_copy(update={"interpolated": True}) for cut in cloud.cuts)
    joined = join(profile, cloud.model_copy(update={"cuts": cuts}))
    assert [found.interpolated for found in joined] == [True] * len(cuts)
    assert cuts


def test_other_weights_are_joined_and_another_structure_is_refused(profile: Profile) -> None:
    other_weights = profile.model.model_copy(update={"weights_hash": "0" * 64})
    join(one_sided(profile, "edge"), one_sided(profile, "cloud", model=other_weights))
    other = profile.model.model_copy(update={"structure_hash": "0" * 64})
    with pytest.raises(MismatchError, match="another structure"):
        join(one_sided(profile, "edge"), one_sided(profile, "cloud", model=other))


def test_swapped_roles_are_refused(profile: Profile) -> None:
    edge, cloud = one_sided(profile, "edge"), one_sided(profile, "cloud")
    with pytest.raises(MismatchError, match=r"role cloud .* as the edge profile"):
        join(cloud, edge)
    with pytest.raises(MismatchError, match=r"role edge .* as the cloud profile"):
        join(edge)


def test_another_batch_or_other_cuts_are_refused(profile: Profile) -> None:
    with pytest.raises(MismatchError, match="--batch"):
        join(one_sided(profile, "edge"), one_sided(profile, "cloud", batch=8))
    fewer = one_sided(profile, "cloud").model_copy(update={"cuts": profile.cuts[:-2]})
    with pytest.raises(MismatchError, match="--max-crossing"):
        join(one_sided(profile, "edge"), fewer)
