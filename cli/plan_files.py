"""A plan on disk: its JSON, and beside it the cloud half's weights where these were fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import MismatchError, Plan, RecordError, hash_tensors, save, write_bytes

if TYPE_CHECKING:
    from torch import Tensor


def save_plan(plan: Plan, weights: Mapping[str, Tensor] | None, file: Path) -> Plan:
    """Write the plan, its weights first, so that no plan ever names a file that is not there; returns it as written."""
    if weights is not None and plan.tuned_weights is not None:
        from safetensors.torch import save as save_tensors

        place = file.with_name(f"{file.stem}.weights.safetensors")
        write_bytes(place, save_tensors({name: value.contiguous() for name, value in weights.items()}))
        named = plan.tuned_weights.model_copy(update={"file": place.name})
        plan = plan.model_copy(update={"tuned_weights": named})
    save(plan, file)
    return plan


def load_weights(plan: Plan, path: Path) -> dict[str, Tensor] | None:
    """The fine-tuned weights of a plan that lies at `path`; None where it has none.

    Raises:
        RecordError: the file is missing or damaged.
        MismatchError: it holds other weights than the plan's.
    """
    if plan.tuned_weights is None:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    place = path.with_name(plan.tuned_weights.file)
    try:
        weights = load_tensors(place.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise RecordError(
            f"{place}, the fine-tuned weights of plan {path}, cannot be read ({error}); copy it beside the plan"
        ) from error
    if hash_tensors(weights) != plan.tuned_weights.sha256:
        raise MismatchError(
            f"{place} holds other weights than plan {path} was measured with; take the file that was written with it"
        )
    return dict(weights)
