"""Labels as text: classes, numbers, and what stands for no label."""

from __future__ import annotations

import pytest
from collabplan.records import TargetError
from collabplan.targets.label_names import numbered


def test_a_class_may_be_called_none() -> None:
    assert numbered(["cat", "none"], (), "folders").labels.tolist() == [0, 1]
    assert numbered(["0", "none", "1"], ("none", "0", "1"), "folders").labels.tolist() == [1, 0, 2]


@pytest.mark.parametrize("names", [["0", "none", "1"], ["cat", "", "dog"], ["", ""], ["nan", "0.5"], ["nan", "nan"]])
def test_among_numbers_it_is_no_label(names: list[str]) -> None:
    with pytest.raises(TargetError, match=r"d\.csv: \d of \d samples have no label"):
        numbered(names, (), "d.csv")


def test_numbers_stand_for_themselves_where_classes_have_names() -> None:
    assert numbered(["1", "0"], ("cat", "dog"), "d.csv").labels.tolist() == [1, 0]
    with pytest.raises(TargetError, match="the class 'cow' is not in class_names"):
        numbered(["cat", "cow"], ("cat", "dog"), "d.csv")
