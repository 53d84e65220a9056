"""Loads a user's target: a model, its example inputs, and the data that it is judged by.

`load_target` runs the file (see `user_code`) and finds the model and its example inputs. `Target.load_data` reads the
data when a command needs it. Each choice that was made on the way is kept as a line of `findings` for the terminal.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from ..graph.weights import module_parameter_count, usual_dtype
from ..records import Returns, TargetError, TargetIdentity, hash_file
from .declared_range import range_notes
from .division import SHARED_OUT, divide_one_set
from .example_inputs import ExampleInputs, from_options, from_value, read_batch_dim
from .images import Preprocessing, model_preprocessing
from .input_options import InputOptions
from .named import build_named, is_named
from .region import read_region
from .user_code import TargetSpec, call, guarded, load_module, main_block
from .user_data import LoadedData, ReadAs, read_data, refuse_overlap, sample_shape
from .user_model import find_model, require_usable_weights

if TYPE_CHECKING:
    from ..graph import TracedGraph
    from ..graph.batch_dims import BatchDims
    from .data import Data, InputScaling

DATA_NAMES = ("validation_data", "train_data", "attacker_data", "other_attacker_data")
IMAGE_DIMS = 3
"""Of one image: channels, height and width."""

SPLIT_SEED = 0
"""The seed that divides validation data into its splits. Another division would be another measurement."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about the target: `what` was found, and `how`, or what its absence means."""

    what: str
    how: str


@dataclass(frozen=True, eq=False)
class TargetData:
    """The target's data, checked: finite, of the model's shapes, and with no sample in two sets.

    Attributes:
        validation: the validation data.
        search, confirm: its two disjoint splits.
        train, attacker, other_attacker: the target's other data sets; None if it does not define them.
        attacker_source: the origin of `attacker`, in words.
        sensitive_labels: one label per validation sample; None if the target has none, or data was read in part.
        scaling: the declared range of the inputs; None if it is not declared.
        findings: lines for the terminal.
        whole: all validation data was read.
        region: `[H, W]` in [0, 1], how much each pixel of the private image matters; None if it is not declared.
    """

    validation: Data
    search: Data
    confirm: Data
    train: Data | None
    attacker: Data | None
    other_attacker: Data | None
    sensitive_labels: Tensor | None
    scaling: InputScaling | None
    findings: tuple[Finding, ...]
    whole: bool = True
    attacker_source: str = "attacker_data"
    region: Tensor | None = None

    def pixel_scaling(self, traced: TracedGraph) -> InputScaling:
        """The declared scaling, or one assumed from the private floating inputs; [0, 1] if there are none."""
        from .data import InputScaling

        if self.scaling is not None:
            return self.scaling
        private = _private_floats(self.validation, traced)
        return InputScaling.from_data(*private) if private else InputScaling.from_range(0, 1)


@dataclass(frozen=True, eq=False)
class Target:
    """A loaded target.

    Attributes:
        identity: how it was named, and the hash of its file.
        file: its file; None for a module without one.
        model: the user's module. It is never changed.
        example: what the model is called with.
        batch_dims: which dimension counts samples.
        public_inputs: the names of the inputs that may be sent as they are.
        declared: all names that the file binds (data, ranges, `evaluate`), unread.
        findings: lines for the terminal.
        warnings: what may make every figure wrong.
    """

    identity: TargetIdentity
    file: Path | None
    model: nn.Module
    example: ExampleInputs
    batch_dims: BatchDims
    public_inputs: tuple[str, ...]
    declared: Mapping[str, Any]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()

    @property
    def evaluate(self) -> Callable[..., Any] | None:
        """The file's own metric, or None for accuracy. Raises TargetError if it is not a function."""
        value = self.declared.get("evaluate")
        if value is None:
            return None
        if not callable(value):
            raise TargetError(f"evaluate is of type {type(value).__name__}; it must be a function (outputs, labels)")

        @functools.wraps(value)
        def evaluate(*args: Any) -> Any:
            with guarded("evaluate raised", self.file):
                return value(*args)

        return evaluate

    @property
    def returns(self) -> Returns | None:
        """What the service answers with, as the file declares it; None if it does not. Raises TargetError."""
        return read_returns(self.declared)

    @property
    def defense_stages(self) -> tuple[Any, ...]:
        """The file's own stages of a defense: classes, to be named by `--defense`. Raises TargetError."""
        value = self.declared.get("defense_stages") or ()
        stages = (value,) if isinstance(value, type) else tuple(value)
        for stage in stages:
            if not isinstance(stage, type) or not hasattr(stage, "apply"):
                raise TargetError(
                    f"defense_stages holds {stage!r}; it lists classes derived from collabplan.defenses.CustomStage"
                )
        return stages

    def running(self) -> AbstractContextManager[None]:
        """Within: the model may run. Its prints go to stderr, and a failure is a TargetError that names its line."""
        return guarded("running the model raised", self.file)

    def trace(self) -> TracedGraph:
        """Trace the model. Its prints go to stderr. Raises TraceError as `graph.trace` does."""
        from ..graph import trace

        with self.running():
            return trace(
                self.model,
                self.example.args,
                self.example.kwargs,
                batch_dims=self.batch_dims,
                public_inputs=self.public_inputs,
            )

    def require_validation_data(self) -> None:
        """Refuse a target without validation data. Raises TargetError."""
        if self.declared.get("validation_data") is None:
            raise TargetError(
                f"{self.identity.spec} defines no validation_data, so accuracy and leakage cannot be measured; add "
                "validation_data = (inputs, labels), a function that returns it, or a path; or give --data PATH"
            )

    def load_data(self, traced: TracedGraph, most: int | None = None) -> TargetData:
        """Read and check the data sets of the target.

        Args:
            traced: the model's graph, for the shapes and dtypes of its inputs.
            most: for a first look: read this many samples of a set if each sample costs time, and skip functions that
                make other sets than the validation data. None reads everything.

        Raises:
            TargetError: there is no validation data, a set does not fit the model, two sets share a sample, or the
                scaling is not one.
        """
        self.require_validation_data()
        loaded = self._read_sets(traced, most)
        refuse_overlap({name: _first(entry.data, most) for name, entry in loaded.items()})
        given = loaded["validation_data"]
        sensitive = self._sensitive_labels(len(given.data)) if given.whole else None
        validation, attacker, source = given.data, loaded.get("attacker_data"), "attacker_data"
        auxiliary = None if attacker is None else attacker.data
        if given.from_path and not {"attacker_data", "train_data"} & self._defined():
            parts = divide_one_set(validation, self._data_name(), SPLIT_SEED, whole=given.whole)
            validation, search, confirm, auxiliary = parts.validation, parts.search, parts.confirm, parts.attacker
            sensitive = None if sensitive is None else sensitive[parts.kept]
            said = Finding("validation_data", "; ".join([f"{len(given.data):,} samples", *parts.notes, *given.notes]))
            source = SHARED_OUT
        else:
            search, confirm = validation.splits(SPLIT_SEED)
            how = f"{len(validation):,} samples: {len(search):,} for the search, {len(confirm):,} to confirm the plan"
            said = Finding("validation_data", "; ".join([how, *given.notes]))
        declared = read_scaling(self.declared)
        ranges = [] if declared is None else range_notes(given.data, traced.tensor_inputs, declared, self._range_name())
        return TargetData(
            validation=validation,
            search=search,
            confirm=confirm,
            train=loaded["train_data"].data if "train_data" in loaded else None,
            attacker=auxiliary,
            other_attacker=loaded["other_attacker_data"].data if "other_attacker_data" in loaded else None,
            sensitive_labels=sensitive,
            scaling=given.scaling if declared is None else declared,
            findings=(said, *_other_findings(loaded), *_scaling_findings(self.declared, traced, given, ranges)),
            whole=given.whole,
            attacker_source=source,
            region=self._region(traced),
        )

    def _defined(self) -> set[str]:
        """The data sets that the target defines."""
        return {name for name in DATA_NAMES if self.declared.get(name) is not None}

    def _range_name(self) -> str:
        """The declaration of the inputs' range, for messages."""
        bounds = self.declared.get("input_range")
        return "the declared input_mean and input_std" if bounds is None else f"the declared input_range {bounds}"

    def _data_name(self) -> str:
        """The validation data, for messages."""
        value = self.declared["validation_data"]
        return f"validation_data ({value})" if isinstance(value, str | Path) else "validation_data"

    def _read_sets(self, traced: TracedGraph, most: int | None) -> dict[str, LoadedData]:
        """The data sets that the file defines, by name."""
        names = [name for name in DATA_NAMES if name in self._defined()]
        if most is not None:
            names = [name for name in names if name == "validation_data" or not callable(self.declared[name])]
        how = ReadAs(
            evaluates=self.declared.get("evaluate") is not None,
            pictures=_preprocessing(self.declared, self.model),
            class_names=tuple(map(str, self.declared.get("class_names") or ())),
        )
        return {
            name: read_data(self.declared[name], traced.tensor_inputs, name, self.file, most, how) for name in names
        }

    def _region(self, traced: TracedGraph) -> Tensor | None:
        """The declared region of interest of the private image. Raises TargetError if there is no image for it."""
        value = self.declared.get("region_of_interest")
        if value is None:
            return None
        if callable(value):
            value = call(value, "region_of_interest", self.file)
        shapes = [sample_shape(spec) for spec in traced.tensor_inputs if not spec.public]
        images = [shape for shape in shapes if len(shape) == IMAGE_DIMS]
        if len(images) != 1:
            raise TargetError(
                f"region_of_interest needs one private image [channels, height, width]; private inputs have shapes "
                f"{', '.join(str(list(shape)) for shape in shapes)}"
            )
        return read_region(value, *images[0][1:])

    def _sensitive_labels(self, count: int) -> Tensor | None:
        value = self.declared.get("sensitive_labels")
        if value is None:
            return None
        if callable(value):
            value = call(value, "sensitive_labels", self.file)
        try:
            labels = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise TargetError(
                f"sensitive_labels is of type {type(value).__name__}; give one number per sample"
            ) from None
        if labels.ndim == 0 or labels.shape[0] != count:
            got = "a scalar" if labels.ndim == 0 else f"{labels.shape[0]}"
            raise TargetError(f"sensitive_labels needs one label for each of {count} validation samples, got {got}")
        return labels


def load_target(text: str, inputs: Sequence[str] | InputOptions = ()) -> Target:
    """Load `path.py`, `path.py:attr`, `package.module:attr` or `timm:name`. **This runs the user's code.**

    Args:
        text: the target as it was typed.
        inputs: options that replace the file's `example_inputs` and `batch_dim`; a sequence holds `--input` options.

    Raises:
        TargetError: the file does not exist or raises (its line is named), it has no model or no example inputs,
            weights are NaN, or the batch dimension is not a dimension.

    Example::

        target = load_target("model.py")
        traced = target.trace()
    """
    given = inputs if isinstance(inputs, InputOptions) else InputOptions(tuple(inputs))
    if is_named(text):
        return _named_target(text, given)
    spec = TargetSpec.parse(text)
    module, file = load_module(spec)
    model, how = find_model(module, spec, file)
    require_usable_weights(model)
    declared = _with_data(vars(module), given.data)
    example = _example_inputs(declared, given.inputs, spec, file, usual_dtype(model.parameters()) or torch.float32)
    identity = TargetIdentity(
        spec=text,
        file=None if file is None else str(spec.file or file),
        file_sha256=None if file is None else hash_file(file),
        options=given.options,
    )
    return _assembled(identity, file, model, how, example, declared, given.batch_dim)


def _named_target(text: str, given: InputOptions) -> Target:
    """The target of a package's model: `timm:resnet18`, `torchvision:resnet18`, `hf:prajjwal1/bert-tiny`."""
    with guarded(f"{text} raised", None):
        made = build_named(text)
    require_usable_weights(made.model)
    usual = usual_dtype(made.model.parameters()) or torch.float32
    example = from_options(given.inputs, usual) if given.inputs else from_value(made.declared["example_inputs"])
    target = _assembled(
        TargetIdentity(spec=text, options=given.options),
        None,
        made.model,
        f"{type(made.model).__name__}, {text}",
        example,
        _with_data(made.declared, given.data),
        given.batch_dim,
    )
    findings = (target.findings[0], Finding("weights", made.weights), *target.findings[1:])
    warnings = (f"{text} has {made.weights}",) if made.random else ()
    return dataclasses.replace(target, findings=findings, warnings=warnings)


def _with_data(declared: Mapping[str, Any], data: str) -> Mapping[str, Any]:
    """What a file declares, with the data of `--data` for its validation data, whose sensitive labels no longer fit."""
    if not data:
        return declared
    return {**declared, "validation_data": Path(data).expanduser().absolute(), "sensitive_labels": None}


def target_in_memory(model: nn.Module, example_inputs: Any, declared: Mapping[str, Any]) -> Target:
    """The target of a model that this process holds already.

    Args:
        model: as a target file's `model`.
        example_inputs: a tensor, a tuple of the model's arguments, a dict of its keyword arguments, or (args, kwargs).
        declared: what a target file would define beside them, by name: `validation_data`, `input_range`...

    Raises:
        TargetError: no model, NaN weights, or example inputs or a batch dimension that are none.
    """
    if not isinstance(model, nn.Module):
        raise TargetError(f"model is of type {type(model).__name__}; give a torch.nn.Module")
    require_usable_weights(model)
    identity = TargetIdentity(spec=f"{type(model).__name__} (in memory)")
    return _assembled(identity, None, model, type(model).__name__, from_value(example_inputs), declared, ())


def _assembled(
    identity: TargetIdentity,
    file: Path | None,
    model: nn.Module,
    how: str,
    example: ExampleInputs,
    declared: Mapping[str, Any],
    batch_dim: Sequence[str],
) -> Target:
    """The target, with what was found: `how` says where the model is from."""
    public = _public_inputs(declared)
    return Target(
        identity=identity,
        file=file,
        model=model,
        example=example,
        batch_dims=read_batch_dim(declared, batch_dim),
        public_inputs=public,
        declared=declared,
        findings=(
            Finding("model", f"{how}, {module_parameter_count(model):,} parameters"),
            Finding("example inputs", f"{example.summary()}, from {example.source}"),
            Finding("public inputs", ", ".join(public) if public else "none declared: every input is private"),
            *_declared_findings(declared),
        ),
    )


def read_scaling(declared: Mapping[str, Any]) -> InputScaling | None:
    """The scaling that a target declares: `input_range`, or `input_mean` and `input_std`; None if it declares neither.

    Raises:
        TargetError: it declares both, or one of mean and std alone, or something else than numbers.
    """
    from .data import InputScaling

    bounds, mean, std = (declared.get(name) for name in ("input_range", "input_mean", "input_std"))
    if bounds is not None and (mean is not None or std is not None):
        raise TargetError("the target defines input_range and input_mean/input_std; keep the one that is true")
    if bounds is not None:
        ends = _numbers(bounds, "input_range")
        if len(ends) != 2:
            raise TargetError(f"input_range needs (low, high), got {len(ends)} numbers")
        return InputScaling.from_range(ends[0], ends[1])
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise TargetError(
            f"the target defines input_{'std' if mean is None else 'mean'} alone; define both, or input_range"
        )
    return InputScaling.from_mean_std(_numbers(mean, "input_mean"), _numbers(std, "input_std"))


def read_returns(declared: Mapping[str, Any]) -> Returns | None:
    """What a target declares that its service returns; None if it declares nothing.

    Raises:
        TargetError: something else than one of the forms.
    """
    value = declared.get("returns")
    known: dict[Any, Returns] = {form: form for form in get_args(Returns)}
    if value is None:
        return None
    if not isinstance(value, str) or value not in known:
        raise TargetError(f"returns must be one of {', '.join(map(repr, known))}, got {value!r:.80}")
    return known[value]


def _numbers(value: Any, name: str) -> list[float]:
    try:
        numbers = [float(number) for number in (value if hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError):
        raise TargetError(f"{name} must hold numbers, got {value!r:.80}") from None
    if not all(math.isfinite(number) for number in numbers):
        raise TargetError(f"{name} must hold finite numbers, got {numbers}")
    return numbers


def _example_inputs(
    declared: Mapping[str, Any], options: Sequence[str], spec: TargetSpec, file: Path | None, usual: torch.dtype
) -> ExampleInputs:
    if options:
        return from_options(options, usual)
    value = declared.get("example_inputs")
    if value is None:
        raise TargetError(
            f"{spec.text} defines no example_inputs; add example_inputs = (torch.zeros(1, 3, 32, 32),) with your "
            f"shape, or give --input 1x3x32x32{main_block(file)}"
        )
    return from_value(call(value, "example_inputs", file) if callable(value) else value)


def _public_inputs(declared: Mapping[str, Any]) -> tuple[str, ...]:
    value = declared.get("public_inputs") or ()
    names = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise TargetError("public_inputs must hold names of the model's inputs, for example ['attention_mask']")
    return names


def _declared_findings(declared: Mapping[str, Any]) -> list[Finding]:
    """Which data the file defines, before it is read, and what cannot be done without."""
    names = [name for name in (*DATA_NAMES, "sensitive_labels", "evaluate") if declared.get(name) is not None]
    findings = [Finding("data", f"{', '.join(names)}: read by `optimize`" if names else "none defined")]
    returns = read_returns(declared)
    if returns is not None:
        findings.append(Finding("returns", f"{returns}: what the service gives away in any case"))
    if "validation_data" not in names:
        findings.append(
            Finding("", "no validation_data: this can be profiled, but `optimize` cannot measure accuracy and leakage")
        )
    return findings


def _first(data: Data, most: int | None) -> Data:
    return data if most is None or len(data) <= most else data.take(range(most))


def _other_findings(loaded: Mapping[str, LoadedData]) -> list[Finding]:
    """How many samples the sets beside the validation data have."""
    return [
        Finding(name, "; ".join([f"{len(entry.data):,} samples", *entry.notes]))
        for name, entry in loaded.items()
        if name != "validation_data"
    ]


def _preprocessing(declared: Mapping[str, Any], model: nn.Module) -> Preprocessing:
    """How pictures become inputs: as the target declares, else as timm's model says, else scaled to [0, 1]."""
    own, scaling = model_preprocessing(model), read_scaling(declared)
    if scaling is None:
        return own or Preprocessing()
    source = "by `input_range`" if declared.get("input_range") is not None else "by `input_mean` and `input_std`"
    return dataclasses.replace(own or Preprocessing(), scaling=scaling, source=source)


def _scaling_findings(
    declared: Mapping[str, Any], traced: TracedGraph, given: LoadedData, notes: Sequence[str]
) -> list[Finding]:
    """How pixels are scaled. An assumed range is only reported if a private input looks like an image."""
    images = any(
        not spec.public and spec.dtype is not None and spec.dtype.is_floating_point and len(sample_shape(spec)) >= 3
        for spec in traced.tensor_inputs
    )
    declares = any(declared.get(name) is not None for name in ("input_range", "input_mean"))
    if given.scaling is not None and not declares:
        return []  # the notes on the data say it
    if not images and not declares:
        return []
    return [Finding("pixels", "; ".join([_scaling_text(declared, _private_floats(given.data, traced)), *notes]))]


def _scaling_text(declared: Mapping[str, Any], private: Sequence[Tensor]) -> str:
    if declared.get("input_range") is not None:
        return "scaled to [0, 1] by `input_range`"
    if declared.get("input_mean") is not None:
        return "scaled to [0, 1] by `input_mean` and `input_std`"
    low, high = min(float(each.min()) for each in private), max(float(each.max()) for each in private)
    return f"range assumed from the data, {low:.3g} to {high:.3g}; declare `input_range`"


def _private_floats(data: Data, traced: TracedGraph) -> list[Tensor]:
    """The private inputs that hold floating numbers."""
    return [
        tensor
        for tensor, spec in zip(data.inputs, traced.tensor_inputs, strict=True)
        if tensor.is_floating_point() and not spec.public
    ]
