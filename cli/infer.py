"""`collabplan infer`: the device's half of a bundle, asking a server for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..workflows.options import CloudOptions, InferOptions
from .grouping import grouped, option
from .options import CLOUD, CLOUD_OPTIONS, OUTPUT, TRUST, Debug, Force, HelpAll, Json, examples

EXAMPLES = examples(
    ("inputs from a file, outputs to another", "collabplan infer bundle --data x.npy -o outputs.safetensors"),
    (
        "a server on another machine",
        "collabplan infer edge --cloud cloud.example:7433 --ca ca.pem --data inputs.safetensors",
    ),
    ("the target's validation data", "collabplan infer bundle --model model.py --samples 100"),
    ("a plan with keyed masks", "collabplan infer bundle --data x.npy --key-file mask.key --input-range 0 1"),
)
_DATA, _PRIVACY = "Data", "What leaves"
_SHOWN = {
    "cloud": option("The server.", "HOST:PORT", CLOUD, default=True),
    "timeout_s": option("Time for one try.", "S", CLOUD, default=True, least=0.001, most=86_400, unit="s"),
    "retries": option("Further tries; identical bytes are sent again.", "N", CLOUD, default=True, least=0),
    "fallback": option(
        "Where the cloud does not answer, run the whole model here (`bundle --with-fallback`).",
        None,
        CLOUD,
        "--fallback",
    ),
    "data": option("Inputs, samples first: .safetensors by name, or .npy, once for each input.", "FILE", _DATA),
    "model": option("Take this target's validation data. Loading it runs its Python code.", "TARGET", _DATA),
    "samples": option("Only the first N.", "N", _DATA, least=1),
    "batch": option("Samples of one request.", "N", _DATA, default=True, least=1),
    "threads": option("Threads inside an operator; default: torch's choice.", "N", _DATA, least=1, most=1024),
    "key_file": option("Secret mask keys, for a plan with keyed masks.", "FILE", _PRIVACY),
    "input_range": option(
        "Values of black and white in the data, for keyed masks; default: 0 1, or the target's.", "LOW HIGH", _PRIVACY
    ),
    "releases": option(
        "New releases of one input; then old bytes are sent again.", "Q", _PRIVACY, default=True, least=1
    ),
    "near": option(
        "Inputs whose mean absolute difference is at most D are the same one.", "D", _PRIVACY, default=True, least=0
    ),
    "beyond": option("After Q releases.", None, _PRIVACY, default=True),
    "release_store": option("Remember releases from one run to the next, here.", "FILE", _PRIVACY),
    "trust": TRUST,
    "wire": option("fp32: no defense and no quantizer. Hides NOTHING; to verify.", None, _PRIVACY, default=True),
}


@grouped(options=_SHOWN, tls=CLOUD_OPTIONS)
def infer(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or only its edge part.")],
    options: InferOptions,
    tls: CloudOptions,
    file: Annotated[
        Path | None,
        option("Write the outputs: .safetensors or .json.", "FILE", OUTPUT, "-o", "--output", writes="file"),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Run the edge half of a bundle on data, and ask a server for the rest.

    What crosses is defended as the plan says, with fresh cryptographic randomness or with masks from a secret key. A
    retry sends identical bytes again, and so does asking for the same input again. The device works on the next request
    while the cloud works on the last.

    Without the cloud there is an error, or with --fallback the whole model's answer.
    """
    from ..workflows.infer import infer as run
    from ..workflows.replacing import refuse_to_replace
    from .output import Output

    output = Output(as_json=as_json)
    refuse_to_replace(file, force)
    found = run(folder, options, tls, output, file)
    if file is not None:
        output.wrote("outputs", file)
    output.say(
        f"{len(found.outputs)} requests in {found.seconds:.2f} s: {found.bytes_sent:,} bytes sent, {found.retries} "
        f"retries, {found.repeated} samples sent again as before, {found.fallbacks} answered by the device itself"
    )
    output.document(
        {
            "bundle_id": found.bundle_id,
            "requests": len(found.outputs),
            "seconds": found.seconds,
            "bytes_sent": found.bytes_sent,
            "retries": found.retries,
            "repeated": found.repeated,
            "fallbacks": found.fallbacks,
            "wire": options.wire,
            "outputs": None if file is None else str(file),
        }
    )
    output.next("collabplan verify plan.json", "is it as fast and as accurate as planned?")
