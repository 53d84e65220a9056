"""What an attacker of each tier may do, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from attack_views import audit_target, digits, first_layer, view_of
from collabplan.attacks import AdversaryView, AttackFailed, AuditTarget
from collabplan.attacks.adversary_view import FEW, RowBank
from collabplan.records import Threat
from collabplan.records.memory import MemoryBudget
from defense_records import defense_record
from torch import Tensor


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dropping(**options: object) -> AuditTarget:
    return audit_target(first_layer(), 6, defense_record(**{"dropout": "element", "rate": 0.7, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("threat", "asks", "runs"), [("query-free", False, False), ("black-box", True, False)])
def test_a_tier_permits_queries_and_the_edge_half_only_from_its_own_strength_on(
    threat: Threat, asks: bool, runs: bool
) -> None:
    view = view_of(dropping(), threat)
    few = digits()[2].take(torch.arange(2))
    for allowed, use in ((asks, lambda: view.query(few, draws())), (runs, lambda: view.edge(view.pixels(few), few))):
        if allowed:
            use()
        else:
            with pytest.raises(AttackFailed, match=f"a {threat} attacker may not"):
                use()


def test_a_white_box_attacker_may_run_the_edge_half_with_gradients() -> None:
    few = digits()[2].take(torch.arange(2))
    view = view_of(dropping())
    pixels = view.pixels(few).requires_grad_(True)
    (rows,) = view.edge(pixels, few)
    assert torch.autograd.grad(rows.sum(), pixels)[0].any()


def test_held_out_images_are_not_trained_on_and_none_is_lost() -> None:
    view = view_of(dropping())
    held, trained = (set(part.sample_hashes()) for part in (view.held_out, view.training))
    assert len(view.held_out) == len(view.auxiliary) // 5
    assert not held & trained
    assert held | trained == set(view.auxiliary.sample_hashes())


def test_few_images_are_learned_from_with_shifted_copies_as_far_as_there_is_room() -> None:
    view = view_of(dropping()).limited(100)
    assert view.learned is view.training
    assert replace(view, room=159).learned is not None
    assert len(replace(view, room=159).learned) == 80
    learned = replace(view, room=10_000).learned
    assert len(learned) == 4 * 80
    assert torch.equal(learned.inputs[0][:80], view.training.inputs[0])
    assert learned.labels is not None
    assert view.training.labels is not None
    assert torch.equal(learned.labels[80:160], view.training.labels)
    shifted, own = learned.inputs[0][80:160], view.training.inputs[0]
    inner = shifted[:, :, 1:-1, 1:-1]
    moves = [own[:, :, 1 + down : 15 + down, 1 + right : 15 + right] for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert all(any(torch.equal(image, move[at]) for move in moves) for at, image in enumerate(inner))
    held = {image.numpy().tobytes() for image in view.held_out.inputs[0]}
    assert not held & {image.numpy().tobytes() for image in learned.inputs[0]}


def test_an_attacker_with_too_few_images_is_refused() -> None:
    with pytest.raises(AttackFailed, match="at least 20 auxiliary images, got 19"):
        AdversaryView(dropping(), digits()[2].take(torch.arange(19)), "black-box")


def test_dropped_numbers_are_marked_unless_noise_hides_them_or_the_attacker_is_naive() -> None:
    assert view_of(dropping()).marks_dropped
    assert not view_of(dropping(), naive=True).marks_dropped
    assert not view_of(dropping(noise="gaussian", noise_std=0.1)).marks_dropped


def test_a_naive_attacker_reads_zeros_as_numbers() -> None:
    place = dropping()
    released = place.release(digits()[0], draws())
    assert view_of(place, "black-box", naive=True).perceived(released).seen == (None,)
    assert view_of(place, "black-box").perceived(released) is released


def test_a_bank_gives_the_same_rows_whether_they_are_kept_or_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.randn(FEW + 50, 7, generator=draws())
    asked = []

    def compute(positions: Tensor) -> tuple[Tensor, ...]:
        asked.append(len(positions))
        return (table[positions],)

    wanted = torch.tensor([0, FEW + 3, 5])
    kept = RowBank(compute, len(table))
    assert torch.equal(kept.some[0], table)
    assert torch.equal(kept.at(wanted)[0], table[wanted])
    assert sum(asked) == len(table)
    monkeypatch.setattr("collabplan.attacks.adversary_view.MOST_BYTES", 100)
    computed = RowBank(compute, len(table))
    assert len(computed.some[0]) == FEW
    assert torch.equal(computed.at(wanted)[0], table[wanted])


def test_a_bank_gives_the_same_rows_in_memory_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collabplan.records.memory.SMALL", 1)
    table, wanted = torch.randn(2 * FEW + 50, 7, generator=draws()), torch.tensor([0, 2 * FEW + 3, 5])
    small, large = MemoryBudget(0, tmp_path), MemoryBudget(1 << 30, tmp_path)
    spilled, kept = (RowBank(lambda positions: (table[positions],), len(table), memory) for memory in (small, large))
    assert (small.held_bytes, large.spilled_bytes) == (0, 0)
    assert small.spilled_bytes == large.held_bytes == table.numel() * 4
    for bank in (spilled, kept):
        assert torch.equal(bank.some[0], table)
        assert torch.equal(bank.at(wanted)[0], table[wanted])


def test_statistics_are_those_of_the_first_rows_where_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collabplan.attacks.adversary_view.MOST_BYTES", 100)
    table, asked = torch.randn(FEW + 50, 7, generator=draws()), list[int]()

    def compute(positions: Tensor) -> tuple[Tensor, ...]:
        asked.append(len(positions))
        return (table[positions],)

    bank = RowBank(compute, len(table), MemoryBudget(0, tmp_path))
    assert torch.equal(bank.some[0], table[:FEW])
    assert torch.equal(bank.at(torch.tensor([FEW + 1]))[0], table[[FEW + 1]])
    assert sum(asked) == len(table)
