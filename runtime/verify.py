"""Runs a plan for real and holds its predictions to it: latency part by part, accuracy over the wire, exactness.

The bundle is made on the fly. The cloud half runs in a second process behind a link that is shaped in user space, or
where a server of the same plan runs already.
"""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..defenses import ProjectionMatrices
from ..estimators import EdgeActivations
from ..graph import Cut, TracedGraph, same_values, split, stored_outputs, with_weights
from ..planner.accuracy import Evaluate, Scorer, paired_accuracy
from ..planner.latency import over_link
from ..planner.readings import Reading, first_rows
from ..planner.recognise import recognised
from ..records import CollabplanError, Interval, Latency, Link, Measured, Plan, TensorSpec, collect_provenance
from ..targets.data import Data, InputScaling
from .bundle import write_bundle
from .device.client import EdgeClient
from .device.stopwatch import Spent, TimedClient, timing
from .parts import EdgePart, open_edge
from .server.loopback import LoopbackServer
from .shaping import Shape, ShapedLink
from .wire.response_codec import answer_bytes
from .wire.service import ClientTls

_LOCAL_RESTART_S = 0.02
"""A shaped link starts slowly again after so long, so that each request is as one after a pause."""

_REAL_PAUSE_S = 0.3
"""Before each request over a real link: longer than Linux's least retransmission timeout."""

_Z90 = 1.645
_MOST_BATCH = 32


@dataclass(frozen=True, eq=False)
class Subject:
    """What is verified: a plan with its model and data.

    Attributes:
        plan, traced, cut, tuned, directions: as `write_bundle` takes them.
        data: samples that accuracy is measured on.
        same_samples: they are those that the plan's accuracy is of; it must then lie in the plan's interval. Of others,
            the two intervals must overlap.
        evaluate: the target's metric; None: the outputs are read as `reading` says, or as `data` shows.
        scaling: how keyed masks read inputs.
    """

    plan: Plan
    traced: TracedGraph
    cut: Cut
    data: Data
    tuned: Mapping[str, Tensor] | None = None
    directions: ProjectionMatrices | None = None
    evaluate: Evaluate | None = None
    scaling: InputScaling | None = None
    same_samples: bool = True
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs the plan's bundle already."""

    address: str
    tls: ClientTls | None = None
    insecure: bool = False


def verify(
    subject: Subject,
    *,
    requests: int = 60,
    shape: Shape | None = None,
    server: Server | None = None,
    key_file: Path | None = None,
) -> Measured:
    """Run the plan and compare.

    Args:
        subject: what.
        requests: how many are timed.
        shape: of the loopback link; None: as the plan's link.
        server: ask this one, over whatever link there is, which is taken to be the plan's.
        key_file: for keyed masks; None: a key that is thrown away.

    Raises:
        MismatchError: the server runs another bundle.
        CollabplanError: the bundle cannot be made, or a server cannot be used.
    """
    if requests < 1:
        raise CollabplanError(f"at least one request must be timed, got {requests}")
    plan = subject.plan
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="collabplan-verify-") as made, ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(plan.edge_device.threads)
        folder = Path(made) / "bundle"
        write_bundle(
            plan, subject.traced, subject.cut, folder,
            tuned=subject.tuned, directions=subject.directions, allow_shared_weights=True,
        )  # fmt: skip
        part = open_edge(folder)
        options = _options(subject, part, server, key_file, Path(made))
        link = plan.link if shape is None or server is not None else shape.link
        near: str | None = None
        far: str | None = None
        if not part.sends:
            pass
        elif server is not None:
            near = far = server.address
        else:
            near = stack.enter_context(LoopbackServer(folder, threads=plan.cloud_device.threads)).address
            shaped = Shape.of(link, restart_s=_LOCAL_RESTART_S)
            far = stack.enter_context(ShapedLink(near, shaped)).address
        inputs = list(_requests(subject.data, part, part.manifest.part.batch or plan.batch, requests))
        spent = _series(part, far, inputs, options, link, local=server is None)
        direct = None
        if part.sends and server is None:
            direct = _series(part, near, inputs, options, link.model_copy(update={"slow_start": False}), local=True)
        accuracy, metric = _accuracy(subject, part, near, options)
        exact = _exact(subject, part, near, options) if part.sends and server is None else None
    return _report(subject, part, link, server is None, spent, direct, accuracy, metric, exact)


def _options(
    subject: Subject, part: EdgePart, server: Server | None, key_file: Path | None, folder: Path
) -> dict[str, Any]:
    """What every client is made with. Each release is a new one, as the plan's accuracy averages over."""
    options: dict[str, Any] = {
        "policy": None,
        "timeout_s": 60.0,
        "connect_timeout_s": 60.0,
        "retries": 0,
        "scaling": subject.scaling,
    }
    if server is not None:
        options |= {"tls": server.tls, "insecure": server.insecure}
    options["key_file"] = key_file
    defense = part.defense
    if defense.spec.masks == "keyed" and defense.randomizes and key_file is None:
        key = folder / "mask.key"
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
        options["key_file"] = key
    return options


def _series(
    part: EdgePart, address: str | None, inputs: Sequence[tuple[Tensor, ...]], options: Mapping[str, Any], link: Link,
    *, local: bool,
) -> list[Spent]:  # fmt: skip
    pause_s = 0.0
    if link.slow_start and part.sends:
        pause_s = 1.5 * _LOCAL_RESTART_S + link.rtt_ms / 1e3 if local else _REAL_PAUSE_S
    with TimedClient(part, address, **options) as client:
        return client.series(inputs, pause_s=pause_s)


def _requests(data: Data, part: EdgePart, batch: int, count: int) -> Iterator[tuple[Tensor, ...]]:
    """`count` requests of `batch` samples, from the data over and over."""
    for number in range(count):
        indices = (torch.arange(batch) + number * batch) % len(data)
        yield _as_traced(data.take(indices), part)


def _as_traced(data: Data, part: EdgePart) -> tuple[Tensor, ...]:
    """Samples as the model takes them: their batch where its own is."""
    return tuple(_moved(tensor, spec) for tensor, spec in zip(data.inputs, part.manifest.part.inputs, strict=True))


def _moved(tensor: Tensor, spec: TensorSpec) -> Tensor:
    return tensor.movedim(0, spec.batch_dims[0]).contiguous() if spec.batch_dims else tensor[0]


def _batches(data: Data, part: EdgePart) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None, int]]:
    """All samples in requests: inputs, labels, and how many count (a fixed batch is filled up with its last)."""
    size = part.manifest.part.batch or _MOST_BATCH
    for batch in data.batches(size):
        count = len(batch)
        if part.manifest.part.batch and count < size:
            filled = batch.take([min(index, count - 1) for index in range(size)])
            yield _as_traced(filled, part), batch.labels, count
        else:
            yield _as_traced(batch, part), batch.labels, count


def _accuracy(
    subject: Subject, part: EdgePart, address: str | None, options: Mapping[str, Any]
) -> tuple[Interval, str]:
    """The mean score of one draw over the wire, and what is scored."""
    scorer = Scorer(subject.evaluate or subject.reading or recognised(EdgeActivations(subject.traced), subject.data))
    tally = scorer.tally()
    batches = list(_batches(subject.data, part))
    with EdgeClient(part, address, **options) as client:
        outputs = client.stream(inputs for inputs, _, _ in batches)
        for (inputs, labels, count), output in zip(batches, outputs, strict=True):
            ran = part.manifest.part.batch or count
            if scorer.needs_own_labels:
                labels = scorer.own_labels(first_rows(_whole(subject.traced, inputs), count, ran))
            tally.add(first_rows(output, count, ran), labels, count)
    scores = tally.finish()
    return paired_accuracy(scores, [scores], changes=False).accuracy, scorer.metric


def _exact(subject: Subject, part: EdgePart, address: str | None, options: Mapping[str, Any]) -> int | str:
    """How many samples came back as the halves in memory make them, or at which they did not."""
    seen, memory = 0, _InMemory(subject)
    plain = {name: value for name, value in options.items() if name != "key_file"}
    with EdgeClient(part, address, undefended=True, **plain) as client:
        for inputs, _, count in _batches(subject.data, part):
            if not same_values(client.infer(inputs), memory.halves(inputs)):
                return f"undefended outputs over the wire differ from the halves in memory near sample {seen}"
            seen += count
    return seen


class _InMemory:
    """The halves as they lie in memory, undefended; tensors in the order of the model's inputs."""

    def __init__(self, subject: Subject) -> None:
        halves = split(subject.traced, subject.cut)
        cloud = halves.cloud if subject.tuned is None else with_weights(halves.cloud, subject.tuned)
        self._edge: Any = halves.edge.graph_module
        self._cloud: Any = cloud.graph_module
        self._structure: Any = cloud.output_structure

    def halves(self, inputs: tuple[Tensor, ...]) -> Any:
        """What the halves make of it, in a program's form, with the tuned cloud half where there is one."""
        with torch.no_grad():
            return stored_outputs(self._cloud(*self._edge(*inputs)), self._structure)


def _whole(traced: TracedGraph, inputs: tuple[Tensor, ...]) -> Any:
    """What the undefended model makes of it."""
    structure: pytree.TreeSpec = traced.module.output_structure  # type: ignore[assignment]
    with torch.no_grad():
        return pytree.tree_unflatten(traced.flat(*inputs), structure)


def median_interval(times_ms: Sequence[float]) -> Interval:
    """The median with its 90 % interval by order statistics (ranks n/2 +- 1.645 sqrt(n) / 2)."""
    ordered, count = sorted(times_ms), len(times_ms)
    half = _Z90 * math.sqrt(count) / 2
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Interval(value=middle, low=min(ordered[low], middle), high=max(ordered[high], middle), level=0.9)


def _report(
    subject: Subject, part: EdgePart, link: Link, shaped: bool, spent: Sequence[Spent], direct: Sequence[Spent] | None,
    accuracy: Interval, metric: str, exact: int | str | None,
) -> Measured:  # fmt: skip
    plan, slowdown = subject.plan, subject.plan.edge_slowdown
    predicted = over_link(
        plan.chosen.latency,
        plan.link,
        link,
        upload_bytes=plan.chosen.payload_bytes * plan.batch,
        download_bytes=answer_bytes(part.manifest.part.outputs, plan.batch),
    )
    total = timing(spent, "total", slowdown)
    p50 = median_interval(total.samples_ms)
    violations = [*_outside(p50, predicted, accuracy, subject), *([exact] if isinstance(exact, str) else [])]
    return Measured(
        link=link,
        shaped=shaped,
        predicted=predicted,
        p50_ms=p50,
        total=total,
        edge=timing(spent, "edge", slowdown),
        defense=timing(spent, "defense", slowdown),
        way=timing(spent, "way"),
        cloud=timing(spent, "cloud"),
        direct=None if direct is None else timing(direct, "way"),
        edge_slowdown=slowdown,
        metric=metric,
        accuracy=accuracy,
        sample_count=len(subject.data),
        exact_samples=exact if isinstance(exact, int) else None,
        violations=tuple(violations),
        provenance=collect_provenance(),
    )


def _outside(p50: Interval, predicted: Latency, accuracy: Interval, subject: Subject) -> Iterator[str]:
    """What is not as planned. A median counts as outside where its whole interval is."""
    planned = predicted.p50_ms
    if p50.high < planned.low or p50.low > planned.high:
        side = "slower" if p50.low > planned.high else "faster"
        yield (
            f"latency is {side} than planned: p50 {p50.value:.2f} ms ({p50.low:.2f} to {p50.high:.2f}) is outside "
            f"{planned.low:.2f} to {planned.high:.2f} ms"
        )
    wanted = subject.plan.chosen.accuracy.accuracy
    low, high = (accuracy.value, accuracy.value) if subject.same_samples else (accuracy.low, accuracy.high)
    if high < wanted.low or low > wanted.high:
        yield (
            f"accuracy over the wire is {accuracy.value:.4f} ({accuracy.low:.4f} to {accuracy.high:.4f}), outside the "
            f"plan's {wanted.low:.4f} to {wanted.high:.4f}"
        )
