"""What `hostile.py` mutates: files and messages, each with the reader that it must not deceive."""

from __future__ import annotations

import bisect
import contextlib
import functools
import json
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import torch
from children import Case
from collabplan.graph import parse_program
from collabplan.records import CollabplanError, parse, record_text, schema_text
from collabplan.records.files import SCHEMAS
from collabplan.runtime import CloudPart, EdgePart, open_cloud, open_edge
from collabplan.runtime.device.tensor_files import read_inputs
from collabplan.runtime.wire.framing import (
    Answer,
    BodyKind,
    Request,
    Status,
    pack_answer,
    pack_request,
    unpack_answer,
    unpack_request,
)
from collabplan.runtime.wire.request_codec import DefendedCodec
from collabplan.runtime.wire.response_codec import pack_outputs, unpack_outputs
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from damage import damaged, edited, mutate, reseal

OPEN: Mapping[str, Callable[..., EdgePart | CloudPart]] = {"edge": open_edge, "cloud": open_cloud}
BOMBS = (b"[" * 200_000, b'{"a":' * 200_000, b"1" * 100_000, b'"' + b"a" * 2**22 + b'"', b"1e400", b"NaN", b"\xff\xfe")
"""JSON that a careless parser does not survive."""


@dataclass(frozen=True)
class Subject:
    """What is mutated, and how many mutants are read.

    Attributes:
        mutants: their number.
        prepare: one of them, drawn from a source: what it is, and how it is read.
    """

    mutants: int
    prepare: Callable[[random.Random], Case]


def read(action: Callable[[], str]) -> str:
    """The word of an attempt to read a mutant."""
    try:
        return action()
    except CollabplanError as error:
        return "refused" if "\n" not in str(error) else f"raised more than one line: {error}"
    except MemoryError:
        raise
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"


# files ------------------------------------------------------------------------------------------------


def mutated_json(data: bytes, draw: random.Random) -> bytes:
    """Damaged bytes, an edited document, or a bomb somewhere in it."""
    kind = draw.random()
    if kind < 0.4:
        return damaged(data, draw)
    if kind < 0.45:
        places = [found.start() for found in re.finditer(rb"[\d\"]", data)]
        at = draw.choice(places)
        return data[:at] + draw.choice(BOMBS) + data[at + 1 :]
    document = json.loads(data)
    for _ in range(draw.choice((1, 1, 2))):
        edited(document, draw)
    return json.dumps(document).encode()


def record(name: str, file: Path) -> Callable[[random.Random], Case]:
    """A record on its own: what is loaded must satisfy the published schema, and lose nothing of the file."""
    whole, schema = file.read_bytes(), jsonschema.Draft202012Validator(json.loads(schema_text(name)))
    original = json.loads(whole)

    def prepare(draw: random.Random) -> Case:
        data = mutated_json(whole, draw)

        def action() -> str:
            found = parse(SCHEMAS[name], data, file)
            document = json.loads(data)
            if document == original:
                return "equal"
            for error in schema.iter_errors(document):
                return f"accepted against the schema: {error.json_path} {error.message[:80]}"
            lost = lost_at(json.loads(record_text(found)), document)
            return "valid" if lost is None else f"accepted as something else: {lost}"

        return difference(whole, data), functools.partial(read, action)

    return prepare


def lost_at(found: Any, document: Any, place: str = "$") -> str | None:
    """Where `found` does not say what `document` says; None if it says all of it. Defaults may come on top."""
    if isinstance(document, dict) and isinstance(found, dict):
        pairs = [(key, found.get(key, KeyError), value) for key, value in document.items()]
    elif isinstance(document, list) and isinstance(found, list) and len(found) == len(document):
        pairs = [(str(index), *both) for index, both in enumerate(zip(found, document, strict=True))]
    else:
        given = float(document) if isinstance(found, float) and type(document) is int else document
        same = bool(found == given) and (isinstance(found, bool) == isinstance(given, bool))
        return None if same else f"{place} {document!r:.60} became {found!r:.60}"
    lost = (lost_at(got, given, f"{place}.{key}") for key, got, given in pairs)
    return next((each for each in lost if each is not None), None)


def difference(whole: bytes, data: bytes) -> str:
    """The place of a mutation, for a report."""
    at = bisect.bisect_left(range(len(whole)), True, key=lambda end: whole[: end + 1] != data[: end + 1])
    return f"at {at}: {whole[max(0, at - 30) : at + 30]!r} -> {data[max(0, at - 30) : at + 30]!r}"


def part(folder: Path, role: str, trust: Path | None, *, sealed: bool) -> Callable[[random.Random], Case]:
    """A part of a bundle. With `sealed`, its hashes are made right again, as a forger would."""
    original = folder / role
    expected = meaning(OPEN[role](original))
    files = {file: file.read_bytes() for file in original.rglob("*") if file.is_file()}

    def prepare(draw: random.Random) -> Case:
        copy = Path(shutil.copytree(original, Path(tempfile.mkdtemp(dir=folder.parent)) / role))
        mutate(copy, draw)
        forged = sealed and resealed(copy)

        def action() -> str:
            try:
                return opened(copy)
            finally:
                shutil.rmtree(copy.parent)

        def opened(copy: Path) -> str:
            same = all((copy / file.relative_to(original)).read_bytes() == data for file, data in files.items())
            found = OPEN[role](copy, trust=None if trust is None else [trust])
            if same or meaning(found) == expected:
                return "equal" if same or trust is None else "accepted by a signature"
            if trust is not None or not forged:
                return "accepted by hashes"
            with contextlib.suppress(Exception):  # what a forger's program raises is its own affair
                found.program(*[torch.zeros(2, 6)] * len(found.program.document["inputs"]))
            return "valid"

        changed = [
            name.name for name, data in files.items() if (copy / name.relative_to(original)).read_bytes() != data
        ]
        return f"{role}: {', '.join(changed)}", functools.partial(read, action)

    return prepare


def resealed(folder: Path) -> bool:
    """Make a part's hashes right again. Returns False where the mutant is no manifest any more."""
    try:
        reseal(folder)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return False
    return True


def meaning(opened: EdgePart | CloudPart) -> object:
    weights = {name: tensor.numpy().tobytes() for name, tensor in opened.program.state_dict().items()}
    return opened.manifest, opened.plan, opened.program.document, weights


def program(folder: Path, *, header: bool) -> Callable[[random.Random], Case]:
    """A program without a manifest: its graph, or with `header` the beginning of its weights file."""
    graph, weights = (folder / "graph.json").read_bytes(), (folder / "weights.safetensors").read_bytes()
    length = 8 + int.from_bytes(weights[:8], "little")

    def prepare(draw: random.Random) -> Case:
        new_graph = graph if header else mutated_json(graph, draw)
        new_weights = mutated_header(weights, length, draw) if header else weights

        def action() -> str:
            found = parse_program(new_graph, new_weights, folder)
            if (new_graph, new_weights) == (graph, weights):
                return "equal"
            with contextlib.suppress(Exception):
                found(*[torch.zeros(2, 6)] * len(found.document["inputs"]))
            return "valid"

        said = difference(weights if header else graph, new_weights if header else new_graph)
        return said, functools.partial(read, action)

    return prepare


def mutated_header(data: bytes, length: int, draw: random.Random) -> bytes:
    """A safetensors file whose header is damaged, edited with its length put right, or of an absurd length."""
    if draw.random() < 0.3:
        return damaged(data[:length], draw) + data[length:]
    if draw.random() < 0.1:
        return draw.choice((0, 1, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little") + data[8:]
    document = json.loads(data[8:length])
    edited(document, draw)
    header = json.dumps(document).encode()
    return len(header).to_bytes(8, "little") + header + data[length:]


def inputs(folder: Path, edge: EdgePart) -> Callable[[random.Random], Case]:
    """Inputs of `infer --data`: a safetensors file with a mutated header."""
    file = folder / "inputs.safetensors"
    (spec,) = edge.manifest.part.inputs
    save_file({spec.name: torch.rand(4, *spec.shape[1:])}, file)
    whole = file.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")

    def prepare(draw: random.Random) -> Case:
        data = mutated_header(whole, length, draw)

        def action() -> str:
            file.write_bytes(data)
            found = read_inputs([str(file)], edge.manifest.part.inputs)
            if data == whole:
                return "equal"
            fits = set(found) == {spec.name} and found[spec.name].shape[1:] == spec.shape[1:]
            return "valid" if fits else "accepted as something else"

        return difference(whole, data), functools.partial(read, action)

    return prepare


# messages ---------------------------------------------------------------------------------------------


def frame(whole: bytes, unpack: Callable[[bytes], object]) -> Callable[[random.Random], Case]:
    """A message on its way: its checksum must find every change."""

    def prepare(draw: random.Random) -> Case:
        data = damaged(whole, draw)

        def action() -> str:
            unpack(data)
            return "equal" if data == whole else "accepted by its checksum"

        return difference(whole, data), functools.partial(read, action)

    return prepare


def request(body: bytes, cloud: CloudPart) -> Callable[[random.Random], Case]:
    """A request with a right checksum: a device that lies."""
    layout = DefendedCodec(cloud.defense)

    def prepare(draw: random.Random) -> Case:
        sent = damaged(body, draw) if draw.random() < 0.9 else draw.randbytes(len(body))
        batch = draw.choice((1, 2, 2, 2, 3, 2**32 - 1))
        data = pack_request(Request(draw.choice(list(BodyKind)), draw.randrange(2**64), batch, 10_000, sent))

        def action() -> str:
            found = unpack_request(data)
            tensors = layout.unpack(found.body, found.batch)
            if len(sent) != layout.body_bytes(batch):
                return "accepted with another size"
            with torch.no_grad():
                cloud.program(*cloud.defense.receive(tensors))
            return "equal" if sent == body else "valid"

        return difference(body, sent), functools.partial(read, action)

    return prepare


def answer(body: bytes, edge: EdgePart) -> Callable[[random.Random], Case]:
    """An answer with a right checksum: a server that lies."""
    spec = edge.manifest.part.outputs

    def prepare(draw: random.Random) -> Case:
        sent = damaged(body, draw)

        def action() -> str:
            found = unpack_outputs(unpack_answer(pack_answer(Answer(Status.ok, 7, 2, sent))).body, spec, 2)
            if pack_outputs(found, spec) != sent:
                return "accepted as something else"
            return "equal" if sent == body else "valid"

        return difference(body, sent), functools.partial(read, action)

    return prepare


def subjects(folder: Path, share: float) -> dict[str, Subject]:
    """Everything that is mutated, by name."""
    bundle, trust = folder / "bundle", folder / "sign.pub"
    edge, cloud = open_edge(bundle), open_cloud(bundle)
    with torch.no_grad():
        released = edge.defense.release(edge.program(torch.rand(2, 6)), torch.Generator())
        body = DefendedCodec(edge.defense).pack(released, 2)
        output = pack_outputs(cloud.program(*cloud.defense.receive(released)), edge.manifest.part.outputs)
    found: dict[str, Subject] = {}

    def add(name: str, mutants: int, prepare: Callable[[random.Random], Case]) -> None:
        found[name] = Subject(round(mutants * share), prepare)

    for name in ("plan", "profile", "audit", "leakage"):
        add(name, 2000, record(name, folder / f"{name}.json"))
    for role in OPEN:
        add(f"{role} part", 1500, part(bundle, role, None, sealed=False))
        add(f"{role} part, forged", 1000, part(bundle, role, None, sealed=True))
        add(f"{role} part, signed", 1000, part(bundle, role, trust, sealed=False))
        add(f"{role} part, signed and forged", 1000, part(bundle, role, trust, sealed=True))
        add(f"{role} program", 1500, program(bundle / role, header=False))
        add(f"{role} safetensors header", 1000, program(bundle / role, header=True))
    add("inputs, safetensors header", 1000, inputs(folder, edge))
    add("request frame", 1500, frame(pack_request(Request(BodyKind.defended, 7, 2, 10_000, body)), unpack_request))
    add("answer frame", 1500, frame(pack_answer(Answer(Status.ok, 7, 2, output)), unpack_answer))
    add("forged request", 1500, request(body, cloud))
    add("forged answer", 1500, answer(output, edge))
    return found
