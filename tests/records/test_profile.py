"""A profile finds its cuts by id."""

from types import SimpleNamespace

import pytest
from collabplan.records import CutProfile, Profile


def cut(cut_id: str) -> CutProfile:
    return CutProfile(
        id=cut_id, name=cut_id, kind="proper", depth=0, crossing=(), searchable=True, edge=None, cloud=None,
        payload_bytes=4, edge_parameter_count=0, edge_parameter_bytes=0, edge_peak_bytes=0, edge_flops=None,
    )  # fmt: skip


def test_a_cut_is_found_by_its_id_and_an_unknown_one_is_a_key_error() -> None:
    profile = SimpleNamespace(cuts=(cut("a"), cut("b")))
    assert Profile.cut(profile, "b").id == "b"  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="c"):
        Profile.cut(profile, "c")  # type: ignore[arg-type]


def test_unknown_flops_are_no_zero() -> None:
    assert cut("a").edge_flops is None
    assert cut("a").edge_flops_counted == 0
