"""Models that torch runs and that no textbook has: each is profiled, or refused with its line and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from collabplan.graph import candidate_cuts, same_values, split
from collabplan.graph.admission import evaluation_mode, run_plainly
from collabplan.graph.batches import resized
from collabplan.graph.inputs import flatten_inputs
from collabplan.targets.target import load_target
from command_line import Run
from torch.utils import _pytree as pytree

Write = Callable[..., Path]

HEAD = """
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def body(self, x):
        return self.head(torch.relu(self.stem(x)))

example_inputs = (torch.rand(1, 6),)

"""


def forward(*lines: str, takes: str = "x", before: str = "") -> str:
    """A target whose forward is these lines."""
    body = "".join(f"        {line}\n" for line in lines)
    return f"{HEAD}{before}\nclass Net(Base):\n    def forward(self, {takes}):\n{body}\nmodel = Net()\n"


WORKS = {
    "list": forward("return self.body(xs[0] + xs[1])", takes="xs")
    + "example_inputs = ([torch.rand(1, 6), torch.rand(1, 6)],)",
    "dict": forward("return self.body(batch['a'])", takes="batch")
    + "example_inputs = {'batch': {'a': torch.rand(1, 6)}}",
    "none and flags": forward(
        "y = x if mask is None else x * mask",
        "return self.body(y).relu() if flag else self.body(y)",
        takes="x, mask, flag, mode",
    )
    + "example_inputs = (torch.rand(1, 6), None, True, 'fast')",
    "kwargs": forward("return self.body(kw['a'] - 2 * kw['b'])", takes="**kw")
    + "example_inputs = {'b': torch.rand(1, 6), 'a': torch.rand(1, 6)}",
    "mixed output": forward("return {'y': self.body(x), 'name': 'net', 'loss': None, 'k': 3, 'parts': [x, (x, 0.5)]}"),
    "hooks": forward("return self.body(x)") + "model.stem.register_forward_hook(lambda m, i, o: o * 2)",
    "no_grad": forward("with torch.no_grad():", "    return self.body(x)"),
    "autocast": forward(
        "with torch.autocast('cpu', dtype=torch.bfloat16):", "    y = self.stem(x)", "return self.head(y.float())"
    ),
    "numpy": forward("y = self.stem(x).detach().numpy().clip(0)", "return self.head(torch.from_numpy(y))"),
    "print": forward("print('x', x.shape)", "return self.body(x)"),
    "counter nobody reads": forward("self.calls = getattr(self, 'calls', 0) + 1", "return self.body(x)"),
    "loop over samples": forward("return torch.stack([self.body(row) for row in x])"),
    "another thing alone": forward("return self.body(x) * (2 if x.shape[0] > 1 else 1)"),
    "vmap": forward("return torch.vmap(self.body)(x)"),
    "parameter data": forward("return self.body(x) + self.head.weight.data.sum()"),
    "exported": forward("return self.body(x)") + "model = torch.export.export(model, example_inputs)",
    "compiled": forward("return self.body(x)") + "model.compile()",
    "symbolic": forward("return self.body(x)") + "model = torch.fx.symbolic_trace(model)",
    "inference mode": forward("return self.body(x)") + "with torch.inference_mode():\n    model = Net()",
    "guidance": forward(
        "y = self.body(torch.cat([x, x]))", "without, wanted = y.chunk(2)", "return without + 7 * (wanted - without)"
    ),
    "states": forward("return self.cell(x, (h0, c0))[0]", takes="x, h0, c0")
    + "model.cell = nn.LSTM(6, 8, 2, batch_first=True)\n"
    "example_inputs = (torch.rand(1, 5, 6), torch.zeros(2, 1, 8), torch.zeros(2, 1, 8))",
    "cond": forward("return torch.cond(x.mean() > 0.5, lambda y: self.body(y), lambda y: -self.body(y), (x,))"),
}


@pytest.mark.parametrize("source", WORKS.values(), ids=WORKS)
def test_it_is_traced_and_every_cut_is_the_model_bit_for_bit(here: Path, source: str) -> None:
    (here / "model.py").write_text(source)
    target = load_target("model.py")
    traced = target.trace()
    leaves, structure = flatten_inputs(target.example.args, target.example.kwargs)
    for batch in (1, 2, 3) if traced.dynamic_batch else (traced.traced_batch,):
        args, kwargs = pytree.tree_unflatten(resized(traced.inputs, leaves, batch), structure)
        with evaluation_mode(target.model):
            wanted = run_plainly(target.model, args, kwargs)
            for cut in candidate_cuts(traced):
                halves = split(traced, cut)
                assert same_values(halves.cloud(*halves.edge(*args, **kwargs)), wanted), (batch, cut.name)


REFUSED = {
    "branch": (forward("y = self.stem(x)", "return self.head(y) if y.sum() > 0 else y"), "torch.where or torch.cond"),
    "check": (forward("if torch.isnan(x).any(): raise ValueError", "return self.body(x)"), "the check of values"),
    "float": (forward("return float(self.body(x).sum())"), "return the tensor"),
    "nothing": (forward("self.body(x)"), "return the tensor"),
    "generator": (forward("yield self.body(x)"), "return a list of tensors"),
    "object": (forward("return torch.distributions.Categorical(logits=self.body(x))"), "return its tensors"),
    "random": (forward("return self.body(x + torch.randn_like(x))"), "switch them off outside training"),
    "python random": (
        forward("return self.body(x) + random.random()", before="import random"),
        "make its eval mode deterministic",
    ),
    "state": (forward("self.n = getattr(self, 'n', 0) + 1", "return self.body(x) * self.n"), "deterministic"),
    "cuda": (forward("return self.body(x + torch.zeros(6, device='cuda'))"), "build it on the CPU"),
    "wrong shape": (forward("return self.body(x)") + "example_inputs = (torch.rand(1, 5),)", "give example inputs"),
    "nested": (
        forward("return torch.nested.nested_tensor([r for r in x]).to_padded_tensor(0)"),
        "plain tensor operations",
    ),
    "thread": (
        forward(
            "out = []",
            "t = threading.Thread(target=lambda: out.append(self.stem(x)))",
            "t.start(); t.join()",
            "return self.head(out[0])",
            before="import threading",
        ),
        "plain tensor operations",
    ),
}


@pytest.mark.parametrize(("source", "remedy"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_the_line_in_the_users_file_and_what_to_do(
    run: Run, here: Path, source: str, remedy: str
) -> None:
    (here / "model.py").write_text(source)
    ran = run("profile", "model.py", "--seconds", "0.3")
    assert ran.code == 2, ran.err
    line = ran.err.splitlines()[-1]
    assert "model.py:" in line
    assert remedy in line
    assert "Traceback" not in ran.err


NO_MODULE = {
    "scripted": ("model = torch.jit.script(Net())", "give the Python module"),
    "int8": ("model = torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear})", "give the float model"),
    "weights": ("model = Net().state_dict()", "holds weights alone"),
    "function": ("def model(x): return x * 2", "make it the forward of an nn.Module"),
    "object": ("class Plain:\n    def __call__(self, x): return x\nmodel = Plain()", "the forward of an nn.Module"),
    "partial": ("import functools\nmodel = functools.partial(Net())", "the forward of an nn.Module"),
    "list": ("model = [Net()]", "a model is an nn.Module"),
    "no forward": ("model = nn.ModuleDict({'net': Net()})", "has no forward"),
    "lazy": ("model = nn.LazyLinear(3)", "run the model once"),
    "meta": ("with torch.device('meta'):\n    model = Net()", "load the weights"),
    "cuda": ("model = Net().to('cuda')", "map_location='cpu'"),
    "nested input": (
        "example_inputs = (torch.nested.nested_tensor([torch.rand(2, 6)], layout=torch.jagged),)",
        "pad it",
    ),
    "numpy input": ("import numpy\nexample_inputs = (numpy.zeros((1, 6)),)", "give a tensor"),
    "sparse buffer": (
        "model.register_buffer('a', torch.eye(6).to_sparse())\n"
        "Net.forward = lambda self, x: self.body(torch.sparse.mm(self.a, x.t()).t())",
        "make it dense",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("ending", "remedy"), NO_MODULE.values(), ids=NO_MODULE)
def test_what_is_no_module_to_trace_is_refused_with_what_to_give(
    run: Run, here: Path, ending: str, remedy: str
) -> None:
    (here / "model.py").write_text(forward("return self.body(x)") + ending)
    ran = run("profile", "model.py", "--seconds", "0.3")
    assert ran.code == 2, ran.err
    assert remedy in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


def test_one_of_them_is_profiled_from_the_command_line(run: Run, here: Path) -> None:
    (here / "model.py").write_text(WORKS["states"])
    ran = run("profile", "model.py", "--seconds", "0.3")
    assert ran.code == 0, ran.err
    assert "in dimension 1" in ran.out + ran.err


def test_output_paths_are_where_the_user_started(run: Run, target: Write, here: Path) -> None:
    (here / "inner").mkdir()
    target("\nimport os\nos.chdir('inner')\n")
    assert run("profile", "model.py", "--seconds", "0.3", "-o", "profile.json").code == 0
    assert (here / "profile.json").exists()
    assert not list((here / "inner").iterdir())
