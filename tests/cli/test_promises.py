"""What a target file promises is held to before any long work, with the line that mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from collabplan.targets.target import DATA_NAMES
from command_line import PROFILE, SEARCH, Run
from target_files import DATA

Write = Callable[..., Path]

TWO_HEADS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.kind, self.size = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, x):
        stem = torch.relu(self.stem(x))
        return self.kind(stem), self.size(stem)

def model():
    return Net()

example_inputs = (torch.zeros(1, 6),)

def _parts():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(60, 6, generator=generator), torch.arange(60) % 3, torch.rand(60, generator=generator)
"""


def refused(run: Run, *, says: str) -> str:
    """The one line of a profile that was refused before anything was measured."""
    ran = run("profile", "model.py", "--seconds", "600")
    assert ran.code == 2, ran.err
    line = ran.err.splitlines()[-1]
    assert says in line, line
    return line


ROWS = """
class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 60
    def __getitem__(self, at):
        return torch.full((6,), float(at)), (at % 3, 0.5)
validation_data = Rows()
"""


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("validation_data = (x, (y, v))", "validation_data are a tuple of 2 for 60 samples; give one tensor"),
        ("validation_data = [(x[:30], [y[:30], v[:30]]), (x[30:], [y[30:], v[30:]])]", "a list of 2 for 30 samples"),
        ("validation_data = {'x': x, 'labels': {'kind': y, 'size': v}}", "a dict of 2 for 60 samples"),
        (ROWS, "a tuple of 2 for 1 samples"),
        ("validation_data = torch.utils.data.TensorDataset(x, y, v)", "the last of a tuple alone is taken for labels"),
        ("validation_data = (x, torch.stack([y.float(), v], 1))", "fit none of them"),
    ],
)  # fmt: skip
def test_labels_of_two_kinds_are_refused_with_a_line_that_fits(run: Run, target: Write, data: str, says: str) -> None:
    target(f"\nx, y, v = _parts()\n{data}\n", base=TWO_HEADS)
    assert "def evaluate" in (line := refused(run, says=says)) or "give these as one tensor" in line


def test_labels_of_two_kinds_with_a_metric_ask_for_no_metric(run: Run, target: Write) -> None:
    target(
        "\nx, y, v = _parts()\nvalidation_data = (x, (y, v))\n"
        "def evaluate(outputs, labels):\n    return (outputs[0].argmax(1) == labels[0]).float()\n",
        base=TWO_HEADS,
    )
    line = refused(run, says="torch.stack([classes, values], dim=1) for example, which `evaluate` receives unchanged")
    assert "def evaluate" not in line


def test_labels_of_one_of_two_heads_find_it(run: Run, target: Write) -> None:
    target("\nx, y, v = _parts()\nvalidation_data = (x, v)\n", base=TWO_HEADS)
    assert "R2 of outputs[1]" in run(*PROFILE).out


def test_labels_of_two_kinds_work_with_the_line_that_was_shown(run: Run, target: Write) -> None:
    both = "\nx, y, v = _parts()\nvalidation_data = (x, torch.stack([y.float(), v], dim=1))\n"
    target(both, base=TWO_HEADS)
    line = refused(run, says="def evaluate(outputs, labels): return ")
    target(both + line[line.index("def evaluate") :] + "\n", base=TWO_HEADS)
    ran = run("profile", "model.py", "--seconds", "0.3")
    assert ran.code == 0
    assert "by the target's own metric evaluate" in ran.err + ran.out


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("validation_data = (_rows(1, 120)[0], _rows(1, 119)[1])", "[120, 119] (inputs, then labels)"),
        ("validation_data = (_rows(1, 120)[0], [0] * 119)", "a list of 119 for 120 samples"),
        ("sensitive_labels = [0, 1]", "each of 120 validation samples, got 2"),
        ("sensitive_labels = lambda: torch.zeros(121)", "each of 120 validation samples, got 121"),
        ("attacker_data = validation_data()", "share 120 samples"),
        ("validation_data = lambda: 1 / 0", "validation_data raised ZeroDivisionError"),
        ("validation_data = lambda: _rows(1, 1)", "one sample cannot be divided"),
        ("_labels = _rows(1, 120)[1] + 1\nvalidation_data = (_rows(1, 120)[0], _labels)", "give labels - 1"),
        ("evaluate = 3", "it must be a function"),
        ("def evaluate(outputs, labels):\n    return outputs.logits", "evaluate raised"),
        ("def evaluate(outputs):\n    return outputs", "evaluate raised TypeError"),
        ("def evaluate(outputs, labels):\n    (outputs.argmax(1) == labels).float()", "evaluate returned None"),
        ("def evaluate(outputs, labels):\n    return bool((outputs.argmax(1) == labels).all())", "returned False"),
        ("def evaluate(outputs, labels):\n    return outputs", "of shape (32, 3) for 32 samples"),
        ("def evaluate(outputs, labels):\n    return torch.ones(5)", "of shape (5,) for 32 samples"),
        ("def evaluate(outputs, labels):\n    return outputs.mean() * float('nan')", "not finite"),
        (
            "validation_data = lambda: _rows(1, 38)\ndef evaluate(outputs, labels):\n    return outputs.mean()",
            "at least 20 samples, there are 19",
        ),
    ],
)
def test_a_promise_that_is_not_kept_is_refused_by_profile(run: Run, target: Write, extra: str, says: str) -> None:
    target(f"{DATA}\n{extra}\n")
    refused(run, says=says)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("", "top-1 accuracy, 0."),
        ("def validation_data():\n    return _rows(1, 120)[0]", "R2 against the undefended model, 1.000"),
        ("def evaluate(outputs, labels):\n    return outputs.argmax(1) == labels", "own metric evaluate, 0."),
        ("def evaluate(outputs, labels):\n    return outputs.softmax(1).max(1)[0].mean()", "own metric evaluate, 0."),
    ],
)  # fmt: skip
def test_profile_says_what_accuracy_will_be(run: Run, target: Write, extra: str, says: str) -> None:
    target(f"{DATA}\n{extra}\n")
    ran = run(*PROFILE)
    assert ran.code == 0
    assert says in " ".join((ran.out + ran.err).split())


RAGGED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
    def forward(self, x):
        h = self.stem(x).relu()
        return h[h.sum(1) > 1]
"""


def test_an_output_that_no_plan_can_serve_is_told_before_a_metric_is_asked_for(run: Run, target: Write) -> None:
    target(f"{RAGGED}{DATA}")
    assert "no plan can be made: the model returns a tensor [?, 8]" in refused(run, says="return one of fixed size")


def test_a_model_worse_than_a_constant_is_told_by_profile(run: Run, target: Write) -> None:
    target(f"{DATA}\ndef validation_data():\n    x = _rows(1, 120)[0]\n    return x, 50 + x[:, :3]\n")
    ran = run(*PROFILE)
    assert "is no better than always answering with the mean label (" in " ".join((ran.out + ran.err).split())
    target(
        f"{DATA}\ndef model():\n    torch.manual_seed(0)\n    return Net()\n"
        "def validation_data():\n    x = _rows(1, 120)[0]\n    return x, model()(x).detach()\n"
    )
    ran = run(*PROFILE)
    assert ran.code == 0
    assert "no better" not in ran.out + ran.err


def test_a_dataset_is_looked_at_not_read(run: Run, target: Write) -> None:
    target(
        "\nclass Rows(torch.utils.data.Dataset):\n"
        "    seen = 0\n"
        "    def __len__(self):\n        return 100_000\n"
        "    def __getitem__(self, at):\n"
        "        Rows.seen += 1\n"
        "        assert Rows.seen < 1000\n"
        "        return torch.full((6,), at / 1e5), at % 3\n"
        "validation_data = Rows()\n"
        "sensitive_labels = list(range(100_000))\n"
    )
    assert run(*PROFILE).code == 0


def test_one_of_two_machines_need_not_have_the_data(run: Run, target: Write) -> None:
    target(f"{DATA}\nvalidation_data = lambda: open('nowhere')\n")
    assert run(*PROFILE, "--role", "edge").code == 0


def test_optimize_without_a_profile_holds_to_promises_before_it_profiles(run: Run, target: Write) -> None:
    target(f"{DATA}\ndef evaluate(outputs, labels):\n    return None\n")
    ran = run("optimize", "model.py", *SEARCH)
    assert ran.code == 2
    assert "evaluate returned None" in ran.err.splitlines()[-1]
    assert "profiling it now" not in ran.err + ran.out


def test_the_documentation_lists_every_name_that_a_target_file_may_define() -> None:
    folder = Path(__file__).parents[2]
    page = (folder / "docs" / "target.md").read_text()
    source = "".join((folder / "targets" / name).read_text() for name in ("target.py", "user_model.py"))
    read = (
        set(re.findall(r'declared\.get\("(\w+)"\)', source)) | set(DATA_NAMES) | {"model", "input_range", "input_std"}
    )
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    assert not [name for name in read if f"`{name}" not in table]
