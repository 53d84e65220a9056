"""Candidates under a mix of defenses: each is estimated, attacked with and without a linear path, and kept."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from collabplan.attacks import EFFORTS, ArtifactCache, Attack, AuditRequest, AuditTarget, Effort, attack_named
from collabplan.attacks.audit_data import AuditData
from collabplan.attacks.judgement import HELD_FOR_PULL
from collabplan.attacks.metrics import JUDGE, Judge
from collabplan.attacks.perception import look
from collabplan.defenses.seeds import generator_for
from collabplan.defenses.spelling import defenses_of
from collabplan.estimators import EdgeActivations, ProjectionFits
from collabplan.graph import candidate_cuts, trace
from collabplan.records import LeakageRow, hash_json, write_text
from collabplan.targets import Data, InputScaling
from collabplan.workflows.leakage_run import RIDGE, LeakageRun, LeakageSettings, affordable_batch
from plain_attack import PlainAttack
from pydantic import BaseModel

from attacks import SEED, Bench, defended_accuracy

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

from example_data import load_example


@dataclass(frozen=True, slots=True)
class Grid:
    """What is measured of one network, so that it takes about 12 minutes of one core.

    Attributes:
        cuts: by name.
        images: that attackers own, at most.
        steps: of the plain decoder.
    """

    cuts: tuple[str, ...]
    images: int
    steps: int

    @property
    def effort(self) -> Effort:
        """Of every attack."""
        return replace(EFFORTS["quick"], targets=TARGETS, fit_samples=self.images, train_steps=self.steps)


TARGETS = 200
GRIDS = {
    "mnist_lenet": Grid(
        ("conv1", "ReLU1", "pool1", "conv2", "ReLU2", "pool2", "fc1", "fc1act", "fc2", "fc2act"),
        1500,
        400,
    ),
    "digits": Grid(
        ("stem.2", "stem.2 + layer1.relu", "layer1", "mean"),
        1500,
        300,
    ),
    "cifar10_resnet20": Grid(
        ("stem.2", "layer1.2", "layer2.0", "layer2.2", "layer2.2 + layer3.0.relu", "layer3.0", "layer3.2", "pool"),
        1000,
        150,
    ),
}  # fmt: skip
DEFENSES = ("none", "dropout:element:0.3,0.7", "projection:rank=8,32", "quantizer:bits=2", "noise:gaussian:0.1")
MOST_CROSSING = 2
SAMPLES = 500
"""Images that estimates, ranges and projections are from; as many others give the accuracy, where there are more."""

INDEX, UPPER = "leakage index", "leakage index, upper end"


class Measured(BaseModel):
    """One candidate.

    Attributes:
        depth: share of the way from the input to the output, in [0, 1].
        payload: share of the input's bytes as float32.
        drop: accuracy of the undefended network less that under the defense.
        estimates: by method; a larger one should mean that more leaks.
        found: the index that each attacker reached.
    """

    cut: str
    defense: str
    depth: float
    rate: float
    payload: float
    drop: float
    estimates: dict[str, float]
    found: dict[str, float]


def attackers() -> dict[str, Attack]:
    """The attacks, by name."""
    made: list[Attack] = [attack_named("ridge"), attack_named("kernel"), PlainAttack()]
    return {each.name: each for each in made}


def opened(name: str) -> tuple[Bench, InputScaling]:
    """The example with its data, its cuts of at most two tensors and its scaling."""
    example = load_example(name)
    named = ("validation", "attacker", "train")
    parts = {part: Data((images,), labels) for part in named for images, labels in [getattr(example, f"{part}_data")()]}
    traced = trace(example.model(), (example.example_inputs[0].expand(2, -1, -1, -1),))
    cuts = tuple(candidate_cuts(traced, MOST_CROSSING))
    targets, intercepted = parts["validation"].splits(SEED)
    device = Bench(name, traced, cuts, targets, intercepted, parts["attacker"], parts["train"])
    return device, InputScaling.from_range(*example.input_range)


def reached(target: AuditTarget, device: Bench, attack: Attack, effort: Effort) -> float:
    """The index that one attack reaches from one release of each target, as an audit takes it."""
    data = AuditData(AuditRequest(target, device.targets, device.attacker), effort, SEED, ArtifactCache(SEED))
    view, draws = data.view(attack.threat), generator_for(SEED, attack.name)
    attacker = attack.fit(view, effort, draws)
    held = view.held_out.take(torch.arange(min(HELD_FOR_PULL, len(view.held_out))))
    images, practice = (
        attacker.reconstruct(view.perceived(released), draws).images
        for released in (data.released(1, None), target.release(held, draws))
    )
    judge = Judge(view.pixels(view.training).mean(dim=0), view.pixels(held), practice, data.prior)
    return judge.index(data.images, images, generator_for(SEED, "bootstrap")).value


def estimated(row: LeakageRow) -> dict[str, float]:
    """What a leakage report says of a candidate. The index's value is its ridge part alone."""
    leakage = row.leakage
    inverted = leakage.index.high if leakage.inverted_index is None else leakage.inverted_index.value
    return {INDEX: leakage.index.value, UPPER: leakage.index.high, "local inversion alone": inverted}


def measured(name: str, work: Path) -> list[Measured]:
    """Every candidate of one network; finished ones are read from `work`."""
    (device, scaling), grid, tried = opened(name), GRIDS[name], attackers()
    cuts = [next(cut for cut in device.cuts if cut.name == wanted) for wanted in grid.cuts]
    deepest = max(cut.depth for cut in device.cuts)
    every = torch.arange(len(device.intercepted))
    own = device.intercepted.take(every[:SAMPLES])
    judged = replace(
        device, targets=device.intercepted.take(every[SAMPLES : 2 * SAMPLES]) if len(every) > SAMPLES else own
    )
    records = defenses_of(DEFENSES)
    run = LeakageRun(
        traced=device.traced,
        cuts=tuple(cuts),
        data=own,
        scaling=scaling,
        settings=LeakageSettings(records, (RIDGE,), SEED, 1_000_000_000),
        batch=affordable_batch(cuts),
        folder=work / "leakage",
    )
    estimates = run.measure(lambda *_: None)
    print(f"{name}: estimated", file=sys.stderr, flush=True)
    activations = EdgeActivations(device.traced, cache_bytes=100_000_000)
    fits = ProjectionFits.of(activations, own, records, SEED)
    revisions = [[each.name, each.revision, repr(grid.effort)] for each in tried.values()]
    found = []
    for cut in cuts:
        for record, row in zip(run.defenses(cut), estimates[cut.id].rows, strict=True):
            key = [run.place.name, cut.id, record.text, revisions, JUDGE.revision, SAMPLES]
            place = work / name / f"{hash_json(key)[:24]}.json"
            if not place.is_file():
                started = time.perf_counter()
                defense, _ = fits.bound(record, cut)
                crossed = activations.to_graph(cut, activations.rows(cut, own))
                target = AuditTarget(device.traced, cut, defense.calibrate(crossed), scaling)
                made = Measured(
                    cut=cut.name,
                    defense=record.text,
                    depth=cut.depth / deepest,
                    rate=record.rate,
                    payload=row.payload_bytes / (4 * device.targets.inputs[0][0].numel()),
                    drop=accuracy(target, judged.targets) - defended_accuracy(judged, target),
                    estimates=estimated(row),
                    found={each: reached(target, device, attack, grid.effort) for each, attack in tried.items()},
                )
                write_text(place, made.model_dump_json())
                seconds = time.perf_counter() - started
                print(f"{name} {cut.name}, {record.text}: {seconds:.0f} s", file=sys.stderr, flush=True)
            found.append(Measured.model_validate_json(place.read_text()))
    return found


def accuracy(target: AuditTarget, data: Data) -> float:
    """Of the undefended network."""
    said = look(target, data, None).classes
    assert said is not None
    assert data.labels is not None
    return float((said == data.labels).double().mean())
