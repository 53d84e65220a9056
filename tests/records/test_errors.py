"""Every error is a `CollabplanError`, and its exit code says whether the tool failed or the answer is no."""

from collabplan.records import (
    BudgetError,
    CollabplanError,
    CutError,
    MismatchError,
    RecordError,
    TargetError,
    TraceError,
)

KINDS = (BudgetError, CutError, MismatchError, RecordError, TargetError, TraceError)


def test_one_root_catches_every_kind() -> None:
    assert all(issubclass(kind, CollabplanError) for kind in KINDS)


def test_only_an_answer_of_no_exits_with_one() -> None:
    assert {kind.__name__: kind.exit_code for kind in KINDS if kind.exit_code != 2} == {"BudgetError": 1}
