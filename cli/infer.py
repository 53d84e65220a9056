"""`collabplan infer`: the device's half of a bundle, asking a server for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..targets.input_options import InputOptions
from .cloud_options import Ca, Insecure, ServerName, TlsCert, TlsKey, client_tls
from .options import Debug, Json, examples

if TYPE_CHECKING:
    from torch import Tensor

    from ..runtime import EdgePart
    from ..targets.data import InputScaling
    from .output import Output

EXAMPLES = examples(
    ("inputs from a file, outputs to another", "collabplan infer bundle --data x.npy -o outputs.safetensors"),
    (
        "a server on another machine",
        "collabplan infer edge --cloud cloud.example:7433 --ca ca.pem --data inputs.safetensors",
    ),
    ("the target's validation data", "collabplan infer bundle --model model.py --samples 100"),
    (
        "a plan with keyed masks",
        "collabplan infer bundle --data x.npy --key-file mask.key --input-range 0 1",
    ),
)
_CLOUD, _DATA, _PRIVACY = "Cloud", "Data", "What leaves"


def infer(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or its edge part alone.")],
    cloud: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server.", rich_help_panel=_CLOUD)] = (
        "127.0.0.1:7433"
    ),
    ca: Ca = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    server_name: ServerName = None,
    insecure: Insecure = False,
    timeout: Annotated[
        float, typer.Option("--timeout-s", metavar="S", min=0.001, help="Of one try.", rich_help_panel=_CLOUD)
    ] = 10.0,
    retries: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Further tries; identical bytes go again.", rich_help_panel=_CLOUD),
    ] = 2,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback",
            help="Where the cloud does not answer, run the whole model here (`bundle --with-fallback`).",
            rich_help_panel=_CLOUD,
            show_default=False,
        ),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Inputs, samples first: .safetensors by name, or .npy, once per input.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Take this target's validation data. Loading it runs its Python code.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="The first N alone.", rich_help_panel=_DATA, show_default=False),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Samples a request.", rich_help_panel=_DATA)] = 1,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads inside an operator; default: torch's.", rich_help_panel=_DATA),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Secret mask keys, for a plan with keyed masks.",
            rich_help_panel=_PRIVACY,
            show_default=False,
        ),
    ] = None,
    input_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="Values of black and white in the data, for keyed masks; default: 0 1, or the target's.",
            rich_help_panel=_PRIVACY,
            show_default=False,
        ),
    ] = None,
    releases: Annotated[
        int,
        typer.Option(
            metavar="Q", min=1, help="New releases of one input; then old bytes go again.", rich_help_panel=_PRIVACY
        ),
    ] = 1,
    near: Annotated[
        float,
        typer.Option(
            metavar="D",
            min=0,
            help="Inputs whose mean absolute difference is at most D are the same one.",
            rich_help_panel=_PRIVACY,
        ),
    ] = 0.0,
    beyond: Annotated[
        Literal["resend", "refuse"], typer.Option(help="After Q releases.", rich_help_panel=_PRIVACY)
    ] = "resend",
    release_store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Remember releases across runs, here.", rich_help_panel=_PRIVACY, show_default=False
        ),
    ] = None,
    wire: Annotated[
        Literal["plan", "fp32"],
        typer.Option(help="fp32: no defense and no quantizer. Hides NOTHING; to verify.", rich_help_panel=_PRIVACY),
    ] = "plan",
    file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the outputs: .safetensors or .json.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Run the edge half of a bundle on data, and ask a server for the rest.

    What crosses is defended as the plan says, with fresh cryptographic randomness or with masks from a secret key. A
    retry sends identical bytes again, and so does asking for the same input again. The device works on the next request
    while the cloud works on the last.

    Without the cloud there is an error, or with --fallback the whole model's answer.
    """
    import torch

    from ..records import CollabplanError
    from ..runtime import EdgeClient, ReleasePolicy, keep_memory, open_edge
    from ..runtime.device.tensor_files import batches, require_ending, write_outputs
    from .output import Output

    output = Output(as_json=as_json)
    if (data is None) == (model is None):
        raise CollabplanError("give the inputs: --data FILE, or --model TARGET for its validation data")
    if file is not None:
        require_ending(file)
    if threads is not None:
        torch.set_num_threads(threads)
    keep_memory()
    part = open_edge(folder)
    specs = part.manifest.part.inputs
    inputs, scaling = _inputs(part, data, model, input_range, output)
    if wire == "fp32":
        output.say("WARNING: --wire fp32 sends the crossing tensors as they are, which hides NOTHING of the inputs")
    tls = client_tls(ca, tls_cert, tls_key, server_name)
    client = EdgeClient(
        part,
        cloud,
        tls=tls,
        insecure=insecure,
        key_file=key_file,
        scaling=scaling,
        policy=ReleasePolicy(releases=releases, near=near, beyond=beyond, store=release_store),
        timeout_s=timeout,
        retries=retries,
        fallback=fallback,
        undefended=wire == "fp32",
    )
    size = part.manifest.part.batch or batch
    requests = list(batches(inputs, specs, size, samples))
    found, took_s = _ask(client, requests, output)
    if file is not None:
        write_outputs(found, part.manifest.part.outputs, file)
        output.wrote("outputs", file)
    counts = client.counts
    output.say(
        f"{len(found)} requests in {took_s:.2f} s: {counts.bytes_sent:,} bytes sent, {counts.retries} retries, "
        f"{counts.repeated} samples sent again as before, {counts.fallbacks} answered on the device alone"
    )
    output.document(
        {
            "bundle_id": part.manifest.bundle_id,
            "requests": len(found),
            "seconds": took_s,
            "bytes_sent": counts.bytes_sent,
            "retries": counts.retries,
            "repeated": counts.repeated,
            "fallbacks": counts.fallbacks,
            "wire": wire,
            "outputs": None if file is None else str(file),
        }
    )


def _ask(client: Any, requests: list[dict[str, Tensor]], output: Output) -> tuple[list[Any], float]:
    """The outputs, and seconds from the first request to the last answer."""
    import time

    found: list[Any] = []
    with client:
        began = time.perf_counter()
        with output.bar("asking") as advance:
            for each in client.stream(requests):
                found.append(each)
                advance(len(found), len(requests))
        return found, time.perf_counter() - began


def _inputs(
    part: EdgePart,
    data: list[str] | None,
    model: str | None,
    input_range: tuple[float, float] | None,
    output: Output,
) -> tuple[dict[str, Tensor], InputScaling | None]:
    """The inputs by name, and how keyed masks read them."""
    from ..runtime.device.tensor_files import read_inputs
    from ..targets.data import InputScaling

    specs = part.manifest.part.inputs
    scaling = None if input_range is None else InputScaling.from_range(*input_range)
    if data is not None:
        return read_inputs(data, specs), scaling
    from ..targets.target import load_target
    from .profile import trace_target

    assert model is not None
    with output.step(f"loading {model}"):
        target = load_target(model, InputOptions.kept_in(part.plan.target.options))
    traced = trace_target(target, output)
    loaded = target.load_data(traced)
    shared = any(spec.batch_dims for spec in specs)
    named = {
        spec.name: samples[0] if shared and not spec.batch_dims else samples
        for spec, samples in zip(specs, loaded.validation.inputs, strict=True)
    }
    return named, scaling or loaded.pixel_scaling(traced)
