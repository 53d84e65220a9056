"""Bars 5.1 to 5.4: is what is predicted what happens, and what does the runtime cost?

    bench-env/bin/python benchmarks/runtime.py --model resnet18 --parts latency,overhead,throughput
    .venv/bin/python benchmarks/runtime.py --model cifar10_resnet20 --parts latency,overhead,throughput
    .venv/bin/python benchmarks/runtime.py --model digits --parts accuracy

Two processes, the device's and the cloud's, and a third that shapes the loopback link between them (bandwidth, round
trip, TCP's slow start). *latency*: for each cut and link the predicted against the measured median, and how often the
90 % interval holds it; in passes, each of some requests everywhere and a part of the profile, so that a machine whose
own speed drifts does so for both. *overhead*: a request against edge half + cloud half + a raw TCP echo of the same
bytes, taken in turns, the cloud half in the process that echoes. *throughput*: eight clients at one server against the
cloud half in a loop, in turns. *accuracy*: a plan of an example (digits, mnist_lenet, cifar10_resnet20) on its whole
test set over the wire, and undefended bit for bit. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from collabplan import planner
from collabplan.defenses import Defense
from collabplan.graph import Cut, TracedGraph, candidate_cuts, split, trace
from collabplan.planner.latency import defense_ms, predict_latency
from collabplan.profilers import profile_model
from collabplan.profilers.cut_timings import CutTiming
from collabplan.profilers.cuts import time_cuts
from collabplan.profilers.joining import join
from collabplan.profilers.timers import WallTimer, quiet
from collabplan.records import (
    Accuracy,
    Budgets,
    Candidate,
    CutProfile,
    DefenseRecord,
    Interval,
    Latency,
    Leakage,
    Link,
    Plan,
    Profile,
    QuantizerRecord,
    TargetIdentity,
    Timing,
    collect_provenance,
)
from collabplan.runtime import keep_memory, open_cloud, open_edge, write_bundle
from collabplan.runtime.device.stopwatch import TimedClient, TimeSpent
from collabplan.runtime.over_the_wire import Subject
from collabplan.runtime.server.loopback import LoopbackServer
from collabplan.runtime.shaping import Shape, ShapedLink
from collabplan.runtime.verify import verify
from collabplan.runtime.wire.request_codec import PlainCodec
from collabplan.runtime.wire.response_codec import answer_bytes
from collabplan.targets.input_options import InputOptions
from collabplan.targets.target import load_target
from collabplan.workflows.conditions import Conditions
from collabplan.workflows.problem import prepare, state_problem
from collabplan.workflows.reporter import Silent
from collabplan.workflows.workspace import Workspace
from report import bar, machine
from torch import Tensor

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TORCHVISION = ("resnet18", "mobilenet_v2", "vgg11")
LINKS = ("5mbps,40ms", "20mbps,15ms", "100mbps,5ms", "1gbps,200us")
SPEC = DefenseRecord.of(QuantizerRecord())
RESTART_S = 0.02
CLIENTS = 8
PASSES = 5
ECHO = struct.Struct("<BII")
BARE, RUN, TAKE = range(3)


@dataclass(frozen=True, eq=False)
class Subjects:
    """A traced model, its profile on this machine, and the cuts that are tried."""

    name: str
    traced: TracedGraph
    inputs: tuple[Tensor, ...]
    profile: Profile
    cuts: list[Cut]


def traced_model(name: str) -> tuple[TracedGraph, tuple[Tensor, ...]]:
    """The model of a name, traced, and one request for it."""
    if name in TORCHVISION:
        from zoo import torchvision_module

        inputs = (torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)),)
        return trace(torchvision_module().models.get_model(name, weights=None).eval(), *inputs), inputs
    loaded = load_target(str(EXAMPLES / name / "model.py"))
    traced = loaded.trace()
    generator = torch.Generator().manual_seed(0)
    return traced, tuple(torch.rand(t.shape, generator=generator) for t in traced.example_inputs)


def subjects(name: str, seconds: float, threads: int, count: int) -> Subjects:
    """Profile the model, and choose measured proper cuts, evenly by depth."""
    traced, inputs = traced_model(name)
    profile = profile_model(traced, target=TargetIdentity(spec=name), threads=threads, seconds=seconds)
    measured = {cut.id for cut in profile.cuts if cut.kind == "proper" and not cut.interpolated}
    cuts = [cut for cut in candidate_cuts(traced) if cut.id in measured and cut.searchable]
    if len(cuts) < count:
        raise SystemExit(f"only {len(cuts)} proper cuts were measured, {count} are wanted: give more --seconds")
    return Subjects(name, traced, inputs, profile, [cuts[(2 * i + 1) * len(cuts) // (2 * count)] for i in range(count)])


def planned(given: Subjects, cut: Cut, link: Link) -> Plan:
    """A plan of a cut with its predicted latency; accuracy and leakage in it mean nothing."""
    with torch.no_grad():
        defense = Defense.for_cut(SPEC, cut).calibrate(split(given.traced, cut).edge(*given.inputs))
    nothing = Interval(value=0.0, low=0.0, high=1.0)
    found = candidate(cut, defense, predicted(given, cut, defense, link), nothing)
    return Plan(
        headline="benchmark",
        target=given.profile.target,
        model=given.traced.identity,
        cut_id=cut.id, cut_name=cut.name, cut_kind=cut.kind, crossing=cut.crossing,
        defense=defense.record,
        batch=1,
        chosen=found, searched=found,
        budgets=Budgets(), link=link,
        edge_device=given.profile.device, cloud_device=given.profile.device,
        front=(), baselines=(), trials=0, study="benchmark",
        provenance=collect_provenance(),
    )  # fmt: skip


def predicted(given: Subjects, cut: Cut, defense: Defense, link: Link) -> Latency:
    """The planner's prediction."""
    return predict_latency(
        join(given.profile).cuts[cut.id],
        link,
        upload_bytes=defense.payload_bytes(),
        download_bytes=given.profile.sample_output_bytes,
        device_defense_ms=defense_ms(defense),
    )


def candidate(cut: Cut, defense: Defense, latency: Latency, nothing: Interval) -> Candidate:
    """The plan's candidate."""
    accuracy = Accuracy(metric="none", accuracy=nothing, undefended=0, drop=nothing, sample_count=1, draws=1)
    return Candidate(
        cut_id=cut.id, cut_name=cut.name, cut_kind=cut.kind, defense=SPEC,
        latency=latency, accuracy=accuracy,
        leakage=Leakage(index=nothing, status="estimated", sample_count=1),
        payload_bytes=defense.payload_bytes(), edge_peak_bytes=0, edge_parameter_count=0, meets_budgets=True,
    )  # fmt: skip


@contextmanager
def deployed(given: Subjects, cut: Cut, *, micro_batch: int = 1) -> Iterator[tuple[Path, str]]:
    """The cut's bundle, and the address of a server that runs it in a second process."""
    threads = given.profile.device.threads
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "bundle"
        plan = planned(given, cut, Link.assumed())
        write_bundle(plan, given.traced, cut, folder, allow_shared_weights=True)
        with LoopbackServer(folder, threads=threads, micro_batch=micro_batch) as server:
            yield folder, server.address


def median(spent: list[TimeSpent], part: str) -> float:
    """Milliseconds."""
    return statistics.median(float(getattr(each, part)) for each in spent)


def off(measured: float, expected: float) -> float:
    """Percent."""
    return 100 * abs(measured - expected) / expected if expected else 0.0


# latency ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Asked:
    """Requests at one cut over one link."""

    cut: Cut
    link: Link
    text: str
    defense: Defense
    spent: list[TimeSpent]


def latency(given: Subjects, repeats: int, seconds: float) -> None:
    """Bars 5.1 and 5.2: predicted against measured, cut by cut and link by link."""
    asked, timings = interleaved(given, repeats, seconds)
    errors_before, covered_before = held(given, asked)
    given = replace(given, profile=pooled(given.profile, timings))
    errors, covered = held(given, asked)
    parts: dict[str, list[float]] = {"edge": [], "cloud": []}
    widths, rows = [], []
    for each in asked:
        expected = predicted(given, each.cut, each.defense, each.link)
        p50, planned_p50 = median(each.spent, "total"), expected.p50_ms
        widths.append(100 * (planned_p50.high - planned_p50.low) / planned_p50.value)
        for side, figure in (("edge", expected.parts.edge_ms), ("cloud", expected.parts.cloud_ms)):
            parts[side].append(off(median(each.spent, side), figure))
        way = expected.parts.serialisation_ms + expected.parts.transfer_ms + expected.parts.download_ms
        rows.append(
            {
                "cut": each.cut.name, "link": each.text, "bytes": each.defense.payload_bytes(),
                "predicted_ms": round(planned_p50.value, 3), "measured_ms": round(p50, 3),
                "edge_ms": [round(expected.parts.edge_ms, 3), round(median(each.spent, "edge"), 3)],
                "cloud_ms": [round(expected.parts.cloud_ms, 3), round(median(each.spent, "cloud"), 3)],
                "way_ms": [round(way, 3), round(median(each.spent, "way"), 3)],
            }
        )  # fmt: skip
    mean, worst = statistics.mean(errors), max(errors)
    bar("5.1", f"{given.name}: predicted against measured p50, mean absolute error", round(mean, 2), "%", target=5.0,
        holds=mean <= 5.0, worst=round(worst, 2), rows=rows,
        reference={"by the profile made beforehand alone": round(statistics.mean(errors_before), 2),
                   "the worst": round(max(errors_before), 2)})  # fmt: skip
    bar("5.1", f"{given.name}: the worst of them", round(worst, 2), "%", target=15.0, holds=worst <= 15.0)
    for side, found in parts.items():
        bar("5.1", f"{given.name}: {side} part, mean absolute error", round(statistics.mean(found), 2), "%",
            target=10.0, holds=statistics.mean(found) <= 10.0, worst=round(max(found), 2))  # fmt: skip
    share = 100 * statistics.mean(covered)
    bar("5.2", f"{given.name}: 90 % intervals that hold the measured p50", round(share, 1), "%", target=85.0,
        holds=share >= 85.0,
        reference={"by the profile made beforehand alone": round(100 * statistics.mean(covered_before), 1)},
    )  # fmt: skip
    width = statistics.median(widths)
    bar("5.2", f"{given.name}: median width of the interval", round(width, 1), "%", target=20.0, holds=width <= 20.0)


def held(given: Subjects, asked: list[Asked]) -> tuple[list[float], list[bool]]:
    """How far each measured median is off the predicted one, in percent, and whether the 90 % interval holds it."""
    pairs = [
        (median(each.spent, "total"), predicted(given, each.cut, each.defense, each.link).p50_ms) for each in asked
    ]
    errors = [off(p50, planned_p50.value) for p50, planned_p50 in pairs]
    return errors, [planned_p50.low <= p50 <= planned_p50.high for p50, planned_p50 in pairs]


def interleaved(given: Subjects, repeats: int, seconds: float) -> tuple[list[Asked], list[dict[str, CutTiming]]]:
    """Requests at every cut over every link, pass after pass, and the profiler's timings of these cuts with each."""
    timings, found = list[dict[str, CutTiming]](), dict[tuple[str, str], Asked]()
    with ExitStack() as stack:
        deployments = [(cut, *stack.enter_context(deployed(given, cut))) for cut in given.cuts]
        parts = {cut.id: open_edge(folder) for cut, folder, _ in deployments}
        for _ in range(PASSES):
            timings.append(timed_again(given, seconds / PASSES))
            for cut, _, near in deployments:
                part = parts[cut.id]
                for text in LINKS:
                    shape = Shape.parse(text)
                    shape = Shape(shape.up_bps, shape.down_bps, shape.rtt_ms, True, RESTART_S)
                    with (
                        ShapedLink(near, shape) as link,
                        TimedClient(part, link.address, policy=None, connect_timeout_s=60.0) as client,
                    ):
                        pause_s = 1.5 * RESTART_S + shape.rtt_ms / 1e3
                        spent = client.series([given.inputs] * -(-repeats // PASSES), warming=2, pause_s=pause_s)
                    asked = found.setdefault((cut.id, text), Asked(cut, shape.link, text, part.defense, []))
                    asked.spent.extend(spent)
    return list(found.values()), timings


def timed_again(given: Subjects, seconds: float) -> dict[str, CutTiming]:
    """The profiler's timings of the cuts that are tried, and of no other."""
    cuts = [*(cut for cut in candidate_cuts(given.traced) if cut.kind != "proper"), *given.cuts]
    with quiet(given.profile.device.threads):
        depths = {cut.id: float(cut.depth) for cut in cuts}
        return time_cuts(given.traced, cuts, depths, WallTimer(), "both", seconds).cuts


def pooled(profile: Profile, timings: list[dict[str, CutTiming]]) -> Profile:
    """The profile with the samples of all timings at the cuts that they are of."""

    def over_all(cut: CutProfile) -> CutProfile:
        found = [cuts[cut.id] for cuts in timings if cut.id in cuts and not cuts[cut.id].interpolated]
        edges = [sample for each in found if each.edge for sample in each.edge.samples_ms]
        clouds = [sample for each in found if each.cloud for sample in each.cloud.samples_ms]
        if not (edges and clouds):
            return cut
        update = {"edge": Timing.from_samples(edges), "cloud": Timing.from_samples(clouds)}
        return cut.model_copy(update=update)

    return profile.model_copy(update={"cuts": tuple(over_all(cut) for cut in profile.cuts)})


# overhead -----------------------------------------------------------------------------------------------------------


def echo_server(folder: Path, threads: int) -> None:
    """The raw TCP process: reads a head and so many bytes, perhaps runs the cloud half, answers with so many bytes.

    Ends with its standard input.
    """
    torch.set_num_threads(threads)
    keep_memory()
    cloud = open_cloud(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    each, _ = listener.accept()
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    crossing: tuple[Tensor, ...] = ()
    with torch.no_grad():
        while head := each.recv(ECHO.size, socket.MSG_WAITALL):
            what, up, down = ECHO.unpack(head)
            body = bytearray(up)
            each.recv_into(body, up, socket.MSG_WAITALL)
            if what == TAKE:
                crossing = PlainCodec(cloud.defense).unpack(body, 1)
            elif what == RUN:
                cloud.program(*crossing)
            each.sendall(bytes(down))


@contextmanager
def raw_echo(folder: Path, threads: int, crossing: tuple[Tensor, ...]) -> Iterator[socket.socket]:
    """A connection to the raw TCP process, which has been given what the cloud half takes."""
    command = [sys.executable, __file__, "--echo-server", str(folder), "--threads", str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            echoed(connection, TAKE, PlainCodec(open_edge(folder).defense).pack(crossing, 1), 1)
            yield connection
        assert process.stdin is not None
        process.stdin.close()


def echoed(connection: socket.socket, what: int, body: bytes, down: int) -> None:
    """One raw echo."""
    connection.sendall(ECHO.pack(what, len(body), down) + body)
    while down:
        down -= len(connection.recv(min(down, 1 << 20)))


def in_turns(calls: dict[str, Callable[[], object]], repeats: int, warming: int = 3) -> dict[str, list[float]]:
    """Milliseconds of each call, one after the other, over and over."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + warming):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number >= warming:
                times[name].append((time.perf_counter() - started) * 1e3)
    return times


def overhead(given: Subjects, repeats: int) -> None:
    """Bar 5.3: a request against its floor, in turns."""
    for cut in given.cuts:
        with deployed(given, cut) as (folder, near):
            overhead_at(given, cut, folder, near, repeats)


def overhead_at(given: Subjects, cut: Cut, folder: Path, near: str, repeats: int) -> None:
    """The bar of one cut.

    Every part of the floor runs where the request's runs: the edge half here, the cloud half in the process that echoes
    (which has been idle meanwhile, as the server has). Beside it the floor with both halves here, one after the other.
    """
    part, cloud = open_edge(folder), open_cloud(folder)
    body, down = os.urandom(part.defense.payload_bytes()), answer_bytes(part.manifest.part.outputs, 1)
    spent: list[TimeSpent] = []
    with torch.no_grad():
        crossing = part.program(*given.inputs)
        with (
            TimedClient(part, near, policy=None, connect_timeout_s=60.0) as client,
            raw_echo(folder, given.profile.device.threads, crossing) as connection,
        ):
            calls: dict[str, Callable[[], object]] = {
                "request": lambda: spent.append(client.timed(given.inputs)),
                "edge half": lambda: part.program(*given.inputs),
                "raw echo with cloud half": lambda: echoed(connection, RUN, body, down),
                "raw echo": lambda: echoed(connection, BARE, body, down),
                "cloud half": lambda: cloud.program(*crossing),
            }
            middle = {name: statistics.median(each) for name, each in in_turns(calls, repeats).items()}
    request, large = middle.pop("request"), len(body) >= 100_000
    floor = middle["edge half"] + middle["raw echo with cloud half"]
    limit = 1.10 * floor if large else floor + 1.0
    bar("5.3", f"{given.name} at {cut.name}: a request against its floor", round(request, 3), "ms",
        target=round(limit, 3), holds=request <= limit, over_floor_ms=round(request - floor, 3),
        ratio=round(request / floor, 3), reference={name: round(each, 3) for name, each in middle.items()},
        floor_in_one_process=round(middle["edge half"] + middle["cloud half"] + middle["raw echo"], 3),
        bytes=len(body), rule="1.10 x floor" if large else "floor + 1 ms",
        parts={name: round(median(spent, name), 3) for name in ("edge", "defense", "way", "cloud")})  # fmt: skip


# throughput ---------------------------------------------------------------------------------------------------------


def throughput(given: Subjects, seconds: float) -> None:
    """Bar 5.4: eight clients that send as fast as they are answered, against the cloud half in a loop."""
    cut = given.cuts[len(given.cuts) // 2]
    for micro_batch in (1, CLIENTS):
        looped, answered = list[float](), list[float]()
        with deployed(given, cut, micro_batch=micro_batch) as (folder, near):
            for _ in range(PASSES):
                looped.append(looped_per_s(given, cut, micro_batch, seconds / PASSES))
                answered.append(answered_per_s(given, folder, near, seconds / PASSES))
        served, local = statistics.mean(answered), statistics.mean(looped)
        bar("5.4", f"{given.name} at {cut.name}: {CLIENTS} clients, batches of up to {micro_batch}", round(served, 1),
            "samples/s", target=round(0.9 * local, 1), holds=served >= 0.9 * local,
            reference={"cloud half in a loop": round(local, 1)})  # fmt: skip


def answered_per_s(given: Subjects, folder: Path, address: str, seconds: float) -> float:
    """Answers a second to requests that were made beforehand, so that no edge half competes for the cores.

    Each client has two requests under way, as `EdgeClient.stream` does. All begin together, once all are connected; the
    time counts until the last answer.
    """
    ready = threading.Barrier(CLIENTS + 1)
    answered = [0] * CLIENTS

    def ask(number: int) -> None:
        with TimedClient(open_edge(folder), address, policy=None, timeout_s=60.0, connect_timeout_s=60.0) as client:
            made = [client.prepare(given.inputs) for _ in range(2)]
            client.collect(client.submit(made[0]))
            ready.wait()
            until = time.perf_counter() + seconds
            under_way = deque(client.submit(each) for each in made)
            while under_way:
                done = under_way.popleft()
                client.collect(done)
                answered[number] += 1
                if time.perf_counter() < until:
                    under_way.append(client.submit(done))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return sum(answered) / (time.perf_counter() - started)


def looped_per_s(given: Subjects, cut: Cut, batch: int, seconds: float) -> float:
    """Samples a second of the cloud half alone, in batches."""
    halves = split(given.traced, cut)
    with torch.no_grad():
        crossing = halves.edge(*(tensor.repeat(batch, *[1] * (tensor.ndim - 1)) for tensor in given.inputs))
        halves.cloud(*crossing)
        runs, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            halves.cloud(*crossing)
            runs += 1
    return runs * batch / seconds


# accuracy -----------------------------------------------------------------------------------------------------------


def accuracy(name: str, trials: int) -> None:
    """Bar 5.5: an example's plan on the whole test set, over the wire."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        workspace = Workspace.here()
        prepared = prepare(str(EXAMPLES / name / "model.py"), InputOptions(), None, workspace, Silent())
        loaded, traced, profiles = prepared.session.target, prepared.session.traced, prepared.profiles
        link = Link(bandwidth_bps=1e9, rtt_ms=0.2, slow_start=False)
        budgets = Budgets(max_accuracy_drop=0.05, max_edge_parameters=loaded_parameters(profiles.edge) // 2)
        problem = state_problem(prepared, Conditions(link), budgets, Silent())
        outcome = planner.optimize(problem, planner.SearchOptions(trials=trials), workspace.prepare())
        plan, data = outcome.plan, loaded.load_data(traced)
        if plan is None:
            raise SystemExit(f"no plan in {trials} trials, give more --trials: {outcome.nearest_miss}")
        cut = next(cut for cut in problem.cuts if cut.id == plan.cut_id)
        halves = {"the plan's own half": (data.confirm, True), "the whole set": (data.validation, False)}
        for which, (samples, same) in halves.items():
            subject = Subject(plan, traced, cut, samples, outcome.tuned_weights, outcome.projection,
                              loaded.evaluate, data.pixel_scaling(traced), same_samples=same)  # fmt: skip
            found, wanted = verify(subject, requests=5), plan.chosen.accuracy.accuracy
            got = found.accuracy
            bar("5.5", f"{name} at {plan.cut_name}: accuracy over the wire, {which}", round(got.value, 4), "share",
                target=[round(wanted.low, 4), round(wanted.high, 4)], holds=wanted.low <= got.value <= wanted.high,
                reference={"the plan": round(wanted.value, 4)}, samples=found.sample_count,
                interval=[round(got.low, 4), round(got.high, 4)])  # fmt: skip
        os.chdir(before)
    bar("5.5", f"{name}: undefended samples that equal the halves bit for bit", found.exact_samples, "samples",
        target=found.sample_count, holds=0 < (found.exact_samples or 0) == found.sample_count)  # fmt: skip


def loaded_parameters(profile: Profile) -> int:
    """Of the whole model."""
    return max(cut.edge_parameter_count for cut in profile.cuts)


def main() -> None:
    """Print the bars of one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar10_resnet20", help=f"{', '.join(TORCHVISION)}, or an example")
    parser.add_argument("--parts", default="latency,overhead,throughput")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the profile, and of its parts amid latency")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--load-seconds", type=float, default=10.0, help="of each throughput")
    parser.add_argument("--trials", type=int, default=60, help="of the search before accuracy")
    parser.add_argument("--echo-server", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo_server:
        echo_server(options.echo_server, options.threads)
        return
    parts = options.parts.split(",")
    torch.set_num_threads(options.threads)
    keep_memory()
    if set(parts) - {"accuracy"}:
        given = subjects(options.model, options.seconds, options.threads, options.cuts)
        if "latency" in parts:
            latency(given, options.repeats, options.seconds)
        if "overhead" in parts:
            overhead(given, options.repeats)
        if "throughput" in parts:
            throughput(given, options.load_seconds)
    if "accuracy" in parts:
        accuracy(options.model, options.trials)
    machine(("torch", "grpcio", "torchvision"))


if __name__ == "__main__":
    main()
