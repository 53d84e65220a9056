"""What is opened is what was written: anything else is refused with one line, and nothing in a part is executed."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_plans import SkipNet, crossing, images, make
from collabplan.records import RecordError
from collabplan.runtime import write_bundle
from damage import FILES, OPEN, edit, found_in, meaning, mutate, reseal
from pydantic import ValidationError


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "bundle"
    made = make(SkipNet(), images, crossing("relu", "conv2d_1"))
    write_bundle(made.plan, made.traced, made.cut, folder, fallback=True)
    return folder


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def refusal(path: Path, role: str, says: str) -> None:
    with pytest.raises(RecordError, match=says) as caught:
        OPEN[role](path)
    assert "\n" not in str(caught.value)


def test_both_parts_open_from_the_bundle_and_from_their_own_folder(bundle: Path) -> None:
    for role, opened in OPEN.items():
        assert opened(bundle).manifest == opened(bundle / role).manifest
        assert opened(bundle).manifest.part.role == role


def test_the_other_role_is_refused(bundle: Path) -> None:
    refusal(bundle / "cloud", "edge", "is the cloud part of a bundle, this needs the edge part")
    refusal(bundle / "edge", "cloud", "is the edge part of a bundle, this needs the cloud part")
    refusal(bundle.parent, "edge", "holds no edge part of a bundle")
    shutil.rmtree(bundle / "edge")
    refusal(bundle, "edge", "holds no edge part of a bundle")


@pytest.mark.parametrize("role", OPEN)
@pytest.mark.parametrize("name", FILES)
def test_missing_truncated_renamed_and_changed_files_are_refused(bundle: Path, role: str, name: str) -> None:
    file = bundle / role / name
    data = file.read_bytes()
    file.write_bytes(data[:-9])
    refusal(bundle, role, "bytes, expected|not whole JSON")
    file.write_bytes(data.replace(b"0", b"1", 1))
    refusal(bundle, role, "changed after it was written|damaged at|not a bundle")
    file.rename(file.with_name("other"))
    refusal(bundle, role, f"lacks {name}|holds no {role} part")
    file.mkdir()
    refusal(bundle, role, f"lacks|holds other|bytes, expected|holds no {role} part")


@pytest.mark.parametrize("role", OPEN)
@pytest.mark.parametrize("extra", ["notes.txt", ".hidden", "fallback/more", "half.onnx", "deep/er/file"])
def test_a_file_that_the_manifest_does_not_name_is_refused(bundle: Path, role: str, extra: str) -> None:
    (bundle / role / extra).parent.mkdir(parents=True, exist_ok=True)
    (bundle / role / extra).write_text("x")
    refusal(bundle, role, "which its manifest does not name")


@pytest.mark.parametrize("name", ["../cloud/graph.json", "/etc/passwd", "..", "graph.json\0", "fallback/../plan.json"])
def test_names_outside_the_list_are_refused(bundle: Path, name: str) -> None:
    edit(bundle / "edge" / "manifest.json", lambda document: document["part"]["files"][0].update(name=name))
    refusal(bundle, "edge", "damaged at part.files.0.name")


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_another_schema_version_is_refused(bundle: Path, version: object) -> None:
    edit(bundle / "edge" / "manifest.json", lambda document: document.update(schema_version=version))
    refusal(bundle, "edge", "schema version")


def test_absurd_sizes_are_refused_before_anything_is_read(bundle: Path) -> None:
    manifest = bundle / "edge" / "manifest.json"
    whole = manifest.read_text()
    edit(manifest, lambda d: d["part"]["wire"]["crossing"][0].update(sample_shape=[2**40, 2**40]))
    refusal(bundle, "edge", "which no tensor of a bundle has")
    manifest.write_text(whole)
    edit(manifest, lambda d: d["part"]["outputs"]["tensors"][0].update(shape=[10**30]))
    refusal(bundle, "edge", "which no tensor of a bundle has")
    manifest.write_text(whole + " " * 2**24)
    refusal(bundle, "edge", "larger than any manifest")
    manifest.write_text(whole)
    with open(bundle / "edge" / "weights.safetensors", "ab") as file:
        file.truncate(2**40)  # a sparse file: reading it would take all memory
    refusal(bundle, "edge", "has 1099511627776 bytes, expected")


def test_a_plan_of_another_cut_is_refused_even_with_right_hashes(bundle: Path) -> None:
    edit(bundle / "cloud" / "plan.json", lambda plan: plan["defense"]["stages"][0].update(rate=0.1))
    reseal(bundle / "cloud")
    refusal(bundle, "cloud", r"plan\.json has other cut, crossings or defense than the manifest")


def test_a_defense_without_its_ranges_is_refused_even_with_right_hashes(bundle: Path) -> None:
    edit(bundle / "edge" / "plan.json", lambda plan: plan["defense"].update(ranges=[]))
    edit(bundle / "edge" / "manifest.json", lambda manifest: manifest["part"]["wire"]["defense"].update(ranges=[]))
    reseal(bundle / "edge")
    refusal(bundle, "edge", "the plan cannot be run.*has no range for relu")


def test_a_program_that_takes_something_else_is_refused_even_with_right_hashes(bundle: Path) -> None:
    edit(bundle / "edge" / "graph.json", lambda graph: graph["output"]["tuple"].pop())
    reseal(bundle / "edge")
    refusal(bundle, "edge", r"graph\.json has other crossings than the manifest")


def test_an_operator_outside_the_list_is_refused_even_with_right_hashes(bundle: Path) -> None:
    edit(bundle / "cloud" / "graph.json", lambda graph: graph["nodes"][0].update(op="os.system", args=["touch pwned"]))
    reseal(bundle / "cloud")
    refusal(bundle, "cloud", "not on the list")


@pytest.mark.parametrize("role", OPEN)
@pytest.mark.parametrize("part", range(4))
def test_whatever_is_changed_is_refused_or_means_the_same(original: Path, tmp_path: Path, role: str, part: int) -> None:
    expected, refused = meaning(OPEN[role](original)), 0
    draw = random.Random(f"damage {role} {part}")
    folder = shutil.copytree(original / role, tmp_path / role)
    whole = {name: (folder / name).read_bytes() for name in FILES}
    for _ in range(225):
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        mutate(folder, draw)
        found = found_in(folder, role)
        refused += found is None
        assert found is None or meaning(found) == expected
    assert refused > 175


@pytest.mark.parametrize("role", OPEN)
@pytest.mark.parametrize("part", range(5))
def test_forged_parts_raise_nothing_but_our_error_and_run_nothing(
    original: Path, tmp_path: Path, role: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its hashes right again a forgery reaches the parsers."""

    def never(*_: object, **__: object) -> None:
        pytest.fail("a part was executed")

    for module, name in ((subprocess, "Popen"), (torch, "load"), (torch.export, "load")):
        monkeypatch.setattr(module, name, never)
    opened = 0
    draw = random.Random(f"forgery {role} {part}")
    folder = shutil.copytree(original / role, tmp_path / role)
    whole = {name: (folder / name).read_bytes() for name in FILES}
    for _ in range(170):
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        mutate(folder, draw)
        modules = set(sys.modules)
        with contextlib.suppress(
            ValidationError, ValueError, KeyError, TypeError, OSError
        ):  # a spoilt manifest stays as it is
            reseal(folder)
        opened += found_in(folder, role) is not None
        assert not set(sys.modules) - modules, "a file made us import something"
    assert 0 < opened < 140
