"""Runs the device's half of a bundle and asks a server for the rest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..records import CollabplanError
from ..runtime import EdgeClient, EdgePart, ReleasePolicy, keep_memory, open_edge
from ..runtime.device.tensor_files import batches, read_inputs, require_ending, write_outputs
from ..targets.data import InputScaling
from ..targets.input_options import InputOptions
from .cloud import client_tls
from .options import CloudOptions, InferOptions
from .reporter import Reporter
from .session import open_session


@dataclass(frozen=True, slots=True)
class Answers:
    """What a device received.

    Attributes:
        bundle_id: of the bundle that was run.
        outputs: of each request, in order.
        seconds: from the first request to the last answer.
        bytes_sent: by the device, retries included.
        retries: tries beyond the first.
        repeated: samples whose earlier bytes were sent again.
        fallbacks: requests that the device answered by itself.
    """

    bundle_id: str
    outputs: list[Any]
    seconds: float
    bytes_sent: int
    retries: int
    repeated: int
    fallbacks: int


def infer(
    folder: Path, options: InferOptions, cloud: CloudOptions, reporter: Reporter, file: Path | None = None
) -> Answers:
    """Run the edge half of a bundle on data, and ask a server for the rest.

    Args:
        folder: a bundle, or only its edge part.
        options: data, server and what may leave the device.
        cloud: how the server is spoken to.
        reporter: hears what is done.
        file: where outputs are written, `.safetensors` or `.json`; None: nowhere.

    Raises:
        CollabplanError: no inputs, a server that does not answer, or a release that the policy refuses.
    """
    if bool(options.data) == (options.model is not None):
        raise CollabplanError("give the inputs: --data FILE, or --model TARGET for its validation data")
    if file is not None:
        require_ending(file)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    keep_memory()
    part = open_edge(folder, trust=options.trust or None)
    inputs, scaling = _inputs(part, options, reporter)
    if options.wire == "fp32":
        reporter.warning("--wire fp32 sends the crossing tensors as they are, which hides NOTHING of the inputs")
    client = _client(part, options, cloud, scaling)
    size = part.manifest.part.batch or options.batch
    requests = list(batches(inputs, part.manifest.part.inputs, size, options.samples))
    outputs, seconds = _ask(client, requests, reporter)
    if file is not None:
        write_outputs(outputs, part.manifest.part.outputs, file)
    counts = client.counts
    return Answers(
        part.manifest.bundle_id,
        outputs,
        seconds,
        counts.bytes_sent,
        counts.retries,
        counts.repeated,
        counts.fallbacks,
    )


def _client(part: EdgePart, options: InferOptions, cloud: CloudOptions, scaling: InputScaling | None) -> EdgeClient:
    return EdgeClient(
        part,
        options.cloud,
        tls=client_tls(cloud),
        insecure=cloud.insecure,
        key_file=options.key_file,
        scaling=scaling,
        policy=ReleasePolicy(
            releases=options.releases, near=options.near, beyond=options.beyond, store=options.release_store
        ),
        timeout_s=options.timeout_s,
        retries=options.retries,
        fallback=options.fallback,
        undefended=options.wire == "fp32",
    )


def _ask(client: EdgeClient, requests: list[dict[str, Tensor]], reporter: Reporter) -> tuple[list[Any], float]:
    """The outputs, and seconds from the first request to the last answer."""
    found: list[Any] = []
    with client:
        began = time.perf_counter()
        with reporter.progress("asking", counted=True, timed=True) as advance:
            for each in client.stream(requests):
                found.append(each)
                advance(len(found), len(requests))
        return found, time.perf_counter() - began


def _inputs(part: EdgePart, options: InferOptions, reporter: Reporter) -> tuple[dict[str, Tensor], InputScaling | None]:
    """The inputs by name, and how keyed masks read them."""
    specs = part.manifest.part.inputs
    scaling = None if options.input_range is None else InputScaling.from_range(*options.input_range)
    if options.data:
        return read_inputs(list(options.data), specs), scaling
    assert options.model is not None
    inputs = InputOptions.kept_in(part.plan.target.options)
    session = open_session(options.model, inputs, reporter, findings=0)
    data = session.target.load_data(session.traced)
    shared = any(spec.batch_dims for spec in specs)
    named = {
        spec.name: samples[0] if shared and not spec.batch_dims else samples
        for spec, samples in zip(specs, data.validation.inputs, strict=True)
    }
    return named, scaling or data.pixel_scaling(session.traced)
