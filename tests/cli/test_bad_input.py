"""Every bad input ends in exit code 2 and one line that says what to do. No traceback, nothing half written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collabplan.cli.app import app
from command_line import Run
from target_files import DATA, NET
from typer.main import get_command

Write = Callable[..., Path]


def refused(run: Run, *arguments: str, says: str) -> str:
    """The one line of a refusal with exit code 2."""
    ran = run(*arguments)
    assert ran.code == 2, ran.err
    assert says in ran.line, ran.line
    assert "Traceback" not in ran.err
    return ran.line


def test_data_dependent_control_flow_names_the_line_and_what_to_change(run: Run, target: Write) -> None:
    branch = "\nNet.forward = lambda self, x: self.head(self.stem(x)) if x.sum() > 0 else self.stem(x)\n"
    line = refused(run, "profile", str(target(branch)), says="control flow or a size depends on tensor values")
    assert "model.py:" in line
    assert "torch.where" in line


@pytest.mark.parametrize(
    "command",
    [
        ("profile", "model.py"),
        ("leakage", "model.py"),
        ("attack", "model.py"),
        ("agreement", "a.json", "b.json"),
        ("infer", "bundle", "--data", "x.npy"),
        ("link", "127.0.0.1:7433", "--bundle", "bundle"),
        ("optimize", "model.py", "--budget-ms", "50"),
        ("verify", "plan.json"),
        ("report", "plan.json"),
        ("front", "plan.json", "--export", "1"),
    ],
    ids=lambda command: command[0],
)
def test_no_command_writes_over_what_it_did_not_make(command: tuple[str, ...], run: Run, target: Write) -> None:
    path = target(DATA)
    text = path.read_text()
    line = refused(run, *command, "-o", "model.py", says="model.py exists")
    assert "another file" in line
    assert path.read_text() == text


def test_missing_file(run: Run) -> None:
    refused(run, "profile", "absent.py", says="absent.py does not exist")


def test_a_file_without_a_model_lists_what_it_has(run: Run, target: Write) -> None:
    path = target(base="weights = 3\ndef build(size): ...\n")
    assert "build, weights" in refused(run, "profile", str(path), says="defines no `model`")


def test_a_file_that_raises_names_the_line(run: Run, target: Write) -> None:
    path = target("def fail():\n    return undefined\n\nfail()\n", base="")
    refused(
        run,
        "profile",
        str(path),
        says="NameError: name 'undefined' is not defined (model.py, line 2: return undefined)",
    )


def test_a_file_with_a_syntax_error(run: Run, target: Write) -> None:
    refused(
        run,
        "profile",
        str(target(base="x = 1\ndef f(:\n")),
        says="SyntaxError: invalid syntax (model.py, line 2: def f(:)",
    )


def test_a_file_that_exits(run: Run, target: Write) -> None:
    refused(run, "profile", str(target("\nimport sys; sys.exit(0)\n")), says="SystemExit")


def test_wrong_input_shape(run: Run, target: Write) -> None:
    line = refused(run, "profile", str(target()), "--input", "1x5", says="mat1 and mat2")
    assert "[1, 5]" in line


@pytest.mark.parametrize("shape", ["1xx3", "axb", "1x6:float99", "1x0", "6x-1"])
def test_a_shape_that_is_none(run: Run, target: Write, shape: str) -> None:
    refused(run, "profile", str(target()), "--input", shape, says=f"--input '{shape}'")


def test_nan_weights(run: Run, target: Write) -> None:
    broken = "\nmodel = Net()\nmodel.head.weight.data[0, 0] = float('nan')\n"
    refused(run, "profile", str(target(broken)), says="head.weight holds NaN or infinity in 1 of 24 numbers")


def test_empty_data(run: Run, target: Write) -> None:
    path = target("\nvalidation_data = (torch.zeros(0, 6), torch.zeros(0))\n")
    refused(run, "optimize", str(path), "--budget-ms", "50", says="validation_data is empty")


def test_overlapping_data(run: Run, target: Write) -> None:
    path = target(DATA + "\ntrain_data = (validation_data()[0][5:9], torch.zeros(4))\n")
    line = refused(run, "optimize", str(path), "--budget-ms", "50", says="share 4 samples")
    assert "sample 5 of validation_data is sample 0 of train_data" in line


def test_no_data(run: Run, target: Write) -> None:
    refused(run, "optimize", str(target()), "--budget-ms", "50", says="defines no validation_data")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--budget-ms", "50", "--bandwidth", "20"], "bandwidth '20' has no unit"),
        (["--budget-ms", "50", "--rtt", "15"], "duration '15' has no unit"),
        (["--budget-ms", "50", "--edge-memory", "200"], "size '200' has no unit"),
        (["--budget-ms", "-5"], "--budget-ms -5"),
        (["--budget-ms", "0"], "--budget-ms 0"),
        (["--budget-ms", "nan"], "--budget-ms nan"),
        (["--budget-ms", "50", "--max-leakage", "2"], "--max-leakage 2"),
        (["--budget-ms", "50", "--max-leakage", "0.3", "--audit-effort", "quick"], "--audit-effort standard"),
        (["--budget-ms", "50", "--max-linkage", "0.3", "--no-audit"], "leave out --no-audit"),
        (["--budget-ms", "50", "--max-consistency", "0.1", "--no-audit"], "leave out --no-audit"),
        (["--budget-ms", "50", "--max-consistency", "2"], "--max-consistency 2"),
        (["--budget-ms", "50", "--max-region", "0.3", "--audit-effort", "quick"], "--audit-effort standard"),
        (["--budget-ms", "50", "--edge-slowdown", "0"], "--edge-slowdown 0"),
        (["--budget-ms", "50", "--rtt-spread", "3"], "--rtt-spread 3"),
        (["--budget-ms", "50", "--trials", "0"], "--trials"),
        (["--budget-ms", "many"], "--budget-ms"),
        ([], "--budget-ms"),
        (["--budget-ms", "50", "--nonsense"], "--nonsense"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_runs(run: Run, options: list[str], says: str) -> None:
    refused(run, "optimize", *options, says=says)


@pytest.mark.parametrize("content", ["", '{"format": "collabplan.plan", "sch', '{"format": "other"}', "[]", "\x00\xff"])
def test_a_truncated_or_foreign_plan_or_profile(run: Run, here: Path, content: str) -> None:
    (here / "file.json").write_text(content, encoding="latin-1")
    refused(run, "split", "file.json", "-o", "halves", says="plan")
    refused(run, "optimize", "--budget-ms", "50", "--edge-profile", "file.json", says="profile")
    assert not (here / "halves").exists()


def test_cuda_asked_for_and_absent(run: Run, target: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(run, "profile", str(target()), "--device", "cuda", says="device 'cuda' asked for")


def test_optimize_without_a_profile(run: Run) -> None:
    refused(run, "optimize", "--budget-ms", "50", says="no profile in .collabplan")


def test_no_space_left(run: Run, target: Write, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    path = target()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    refused(run, "profile", str(path), "--seconds", "0.3", "-o", "profile.json", says="no space left on the device")
    assert not (here / "profile.json").exists()
    assert not list(here.glob("**/*.tmp"))


def test_unknown_command(run: Run) -> None:
    refused(run, "optimise", says="optimise")


def test_missing_argument_and_unknown_module(run: Run) -> None:
    refused(run, "profile", says="TARGET")
    refused(run, "profile", "no_such_package.models:net", says="no module named 'no_such_package'")
    refused(run, "profile", "not a target", says="path.py:attr")


def test_debug_shows_the_traceback_and_the_same_code(run: Run) -> None:
    ran = run("profile", "absent.py", "--debug")
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("collabplan: target file absent.py")


def test_out_of_memory_is_one_line(run: Run, target: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("collabplan.targets.target.find_model", exhausted)
    refused(run, "profile", str(target()), says="out of memory")


def test_a_fault_of_our_own_is_one_line_too(run: Run, target: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr("collabplan.targets.target.find_model", fault)
    ran = run("profile", str(target()))
    assert ran.code == 70
    assert "internal fault: ZeroDivisionError: here" in ran.line


def test_prints_of_the_target_do_not_spoil_json(run: Run, target: Write) -> None:
    path = target("\nprint('loading')\n", base=NET)
    ran = run("profile", str(path), "--seconds", "0.3", "--json")
    assert ran.document["format"] == "collabplan.profile"
    assert "loading" in ran.err


WRITING = (
    ("attack", "absent.py"), ("leakage", "absent.py"), ("profile", "absent.py"), ("optimize", "--budget-ms", "5"),
    ("agreement", "a.json", "b.json"), ("verify", "plan.json"), ("front", "plan.json", "--export", "1"),
    ("infer", "bundle", "--data", "x.npy"), ("link", "host:1", "--bundle", "bundle"),
)  # fmt: skip


@pytest.mark.parametrize("command", WRITING, ids=lambda command: command[0])
def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    run: Run, here: Path, command: tuple[str, ...]
) -> None:
    (here / "file").touch()
    refused(run, *command, "-o", ".", says="cannot write .: it is a folder")
    refused(run, *command, "-o", "file/x.json", says="is no folder; choose a writable place with -o")


@pytest.mark.parametrize("command", ["bundle", "split"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(run: Run, here: Path, command: str) -> None:
    (here / "file").touch()
    for folder in ("file", "file/x"):
        refused(run, command, "plan.json", "-o", folder, says=f"cannot write {folder}: ")
    refused(run, "attack", "absent.py", "--pictures", "file", says="cannot write file/file: ")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("profile", "x.py", "--seconds", "1e30"), "--seconds 1e+30 is too large; 86,400 is the most"),
        (("profile", "x.py", "--seconds", "inf"), "--seconds inf is not a finite number"),
        (("infer", "bundle", "--timeout-s", "inf"), "--timeout-s"),
        (("infer", "bundle", "--retries", "9" * 30), "--retries 1e+30 is too large"),
        (("optimize", "--budget-ms", "1e300"), "--budget-ms 1e+300 is too large"),
        (("optimize", "--budget-ms", "5", "--edge-slowdown", "1e30"), "--edge-slowdown 1e+30 is too large"),
        (("leakage", "--seed", "9" * 20), "--seed 1e+20 is too large; 4,294,967,295 is the most"),
        (("agreement", "a", "b", "--seed", "9" * 20), "--seed 1e+20 is too large"),
    ],
)
def test_numbers_above_any_sense_are_refused(run: Run, command: tuple[str, ...], says: str) -> None:
    refused(run, *command, says=says)


def test_every_option_with_a_value_is_checked() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.is_flag and parameter.metavar:
                assert parameter.callback is not None, f"{name} {parameter.opts}"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("explain", ""), "an argument is empty"),
        (("attack", "x.py", "-o", ""), "-o is empty; give a value, or leave it out"),
        (("infer", "bundle", "--release-store", ""), "--release-store is empty"),
        (("infer", "bundle", "--ca="), "--ca is empty"),
    ],
)
def test_an_empty_argument_is_not_the_working_directory(run: Run, command: tuple[str, ...], says: str) -> None:
    refused(run, *command, says=says)
