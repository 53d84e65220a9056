"""A plan on disk: its JSON, and beside it fine-tuned weights and the matrices of its projection, where it has any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import MismatchError, Plan, RecordError, TensorFile, hash_tensors, load, save, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from ..defenses import ProjectionMatrices


def save_plan(
    plan: Plan, weights: Mapping[str, Tensor] | None, projection: ProjectionMatrices | None, file: Path
) -> Plan:
    """Write the plan, its tensors first, so that no plan ever names a file that is not there; returns it as written.

    Other tensors than those that lie there get a name of their own: the plan that names those stays whole until it is
    replaced.
    """
    before = _tensor_files(file)
    tensors = None if projection is None else projection.tensors
    plan = plan.model_copy(
        update={
            "tuned_weights": _written(plan.tuned_weights, weights, file, "weights"),
            "projection": _written(plan.projection, tensors, file, "projection"),
        }
    )
    save(plan, file)
    for name in before - _tensor_files(file):
        file.with_name(name).unlink(missing_ok=True)
    return plan


def _tensor_files(file: Path) -> set[str]:
    """The names of the files that the plan at `file` needs beside it; empty if there is none."""
    try:
        plan = load(Plan, file)
    except RecordError:
        return set()
    return {each.file for each in (plan.tuned_weights, plan.projection) if each is not None and each.file}


def _written(
    named: TensorFile | None, tensors: Mapping[str, Tensor] | None, file: Path, what: str
) -> TensorFile | None:
    if named is None or tensors is None:
        return None
    from safetensors.torch import save as save_tensors

    content = save_tensors({name: value.contiguous() for name, value in tensors.items()})
    place = file.with_name(f"{file.stem}.{what}.safetensors")
    if place.exists() and place.read_bytes() != content:
        place = file.with_name(f"{file.stem}.{what}-{named.sha256[:8]}.safetensors")
    write_bytes(place, content)
    return named.model_copy(update={"file": place.name})


def load_weights(plan: Plan, path: Path) -> dict[str, Tensor] | None:
    """The fine-tuned weights of a plan that lies at `path`; None where it has none.

    Raises:
        RecordError: the file is missing or damaged.
        MismatchError: it holds other weights than the plan's.
    """
    return _read(plan.tuned_weights, path, "fine-tuned weights")


def load_projection(plan: Plan, path: Path) -> ProjectionMatrices | None:
    """The matrices of a plan's projection; None where it has none. Raises as `load_weights`."""
    from ..defenses import ProjectionMatrices

    tensors = _read(plan.projection, path, "projection")
    return None if tensors is None else ProjectionMatrices.from_tensors(tensors)


def _read(named: TensorFile | None, path: Path, what: str) -> dict[str, Tensor] | None:
    if named is None:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    if not named.file:
        raise RecordError(f"plan {path} names no file for its {what}; make it again with `collabplan optimize`")
    place = path.with_name(named.file)
    try:
        tensors = load_tensors(place.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise RecordError(
            f"{place}, the {what} of plan {path}, cannot be read ({error}); copy it beside the plan"
        ) from error
    if hash_tensors(tensors) != named.sha256:
        raise MismatchError(
            f"{place} holds other {what} than plan {path} was measured with; take the file that was written with it"
        )
    return dict(tensors)
