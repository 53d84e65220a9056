"""Hostile arguments for every operator that a program file may name: none may end or hold the process.

Half of the argument sets are made from the operator's schema alone, half from calls that `operator_cases.py` really
makes, with one or two arguments replaced: wrong sizes, empty and 0-dimensional tensors, negative and huge integers,
other dtypes, NaN, strides of 0. Every tensor lies against a page that nobody may touch, so an access outside of it is a
signal. Each operator runs in a child process with bounded memory and time.

    .venv/bin/python benchmarks/operator_fuzz.py [--match REGEX] [--sets 200] [--no-calls]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import json
import math
import mmap
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from children import Case, Outcome, run_cases
from collabplan.graph.allowlist import refusal
from collabplan.graph.operators import PYTHON, function_of, name_of
from operator_cases import cases
from report import bar, machine
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

INTEGERS = (0, 1, 2, 3, 5, -1, -2, -7, 64, 1000, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 3e38, 1e300, math.inf, -math.inf, math.nan)
SHAPES = (
    (), (0,), (1,), (4,), (7,), (4, 4), (3, 4), (0, 4), (4, 0), (2, 4, 4), (2, 3, 4), (2, 4, 6, 6), (1, 4, 5),
    (0, 3, 4, 4), (2, 0, 4, 4), (2, 2, 4, 6, 6), (1, 1, 1, 1, 1), (300,), (16, 16),
)  # fmt: skip
DTYPES = (
    torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.complex64, torch.bfloat16, torch.uint8,
    torch.int8, torch.float16,
)  # fmt: skip
STRINGS = (
    "", "mean", "sum", "none", "prod", "amax", "linear", "nearest", "constant", "reflect", "circular", "replicate",
    "valid", "same", "floor", "trunc", "left", "right", "xy", "L", "gelsd", "fro", "nuc", "tanh", "ij,jk->ik", "...->",
    "x" * 500,
)  # fmt: skip


Operator = OpOverload | Callable[..., Any]
"""An operator of torch, or a function of Python's arithmetic."""


class Hostile:
    """Draws arguments from a seed."""

    def __init__(self, seed: str) -> None:
        self.draw = random.Random(seed)
        self.shape: tuple[int, ...] = ()
        self.dtype = self.draw.choice(DTYPES) if self.draw.random() < 0.5 else torch.float32

    def by_schema(self, overload: Operator) -> tuple[list[Any], dict[str, Any]]:
        """One argument set. Shapes and dtypes agree more often than not: checks let little else through."""
        self.shape = self.draw.choice(SHAPES)
        if not isinstance(overload, OpOverload):
            return [self.operand() for _ in range(self.draw.choice((1, 2, 2, 2)))], {}
        args, kwargs = [], {}
        for argument in overload._schema.arguments:
            value = self.value(str(argument.real_type))
            if argument.kwarg_only:
                kwargs[argument.name] = value
            else:
                args.append(value)
        return args, kwargs

    def operand(self) -> Any:
        """What a file may write where Python's arithmetic takes a number."""
        kind = self.draw.choice(("int", "int", "float", "str", "List[int]", "Tensor", "huge", "part"))
        if kind == "part":
            return self.draw.choice((None, slice(None, None, self.value("int")), [None] * 70, "%2147483647d", b"x"))
        return 10 ** self.draw.choice((20, 400, 4000)) if kind == "huge" else self.value(kind)

    def mutated(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[list[Any], dict[str, Any]]:
        """A call that a model makes, with one or two of its arguments replaced."""
        leaves, structure = pytree.tree_flatten(call, is_leaf=lambda leaf: leaf is None)
        leaves = [guarded(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for _ in range(self.draw.choice((1, 1, 2)) if leaves else 0):
            place = self.draw.randrange(len(leaves))
            leaves[place] = self.like(leaves[place])
        args, kwargs = pytree.tree_unflatten(leaves, structure)
        return list(args), dict(kwargs)

    def like(self, value: Any) -> Any:
        """Something hostile of the same kind."""
        if isinstance(value, Tensor):
            self.shape = tuple(value.shape)
            shape = self.shape if self.draw.random() < 0.4 else self.near(self.shape)
            dtype = value.dtype if self.draw.random() < 0.7 else self.draw.choice(DTYPES)
            return self.tensor(shape, dtype)
        for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "str")):
            if isinstance(value, kind):
                return self.value(name)
        return self.draw.choice((None, self.draw.choice(DTYPES) if isinstance(value, torch.dtype) else value))

    def near(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape with one size changed, added or taken away."""
        sizes = list(shape)
        action = self.draw.randrange(3)
        if action == 0 and sizes:
            sizes[self.draw.randrange(len(sizes))] = self.draw.choice((0, 1, 2, 5, 33))
        elif action == 1 and sizes:
            sizes.pop(self.draw.randrange(len(sizes)))
        else:
            sizes.insert(self.draw.randint(0, len(sizes)), self.draw.choice((0, 1, 3)))
        return tuple(sizes)

    def value(self, kind: str) -> Any:
        """An argument of the schema's kind (`Tensor`, `Optional[int]`, `List[Tensor]`...)."""
        if kind.startswith("Optional["):
            return None if self.draw.random() < 0.4 else self.value(kind[9:-1])
        if kind.startswith("List["):
            return [self.value(kind[5:-1]) for _ in range(self.draw.choice((0, 1, 1, 2, 2, 3, 4)))]
        draw = self.draw
        if kind == "Tensor":
            shape = self.shape if draw.random() < 0.6 else draw.choice((draw.choice(SHAPES), self.near(self.shape)))
            return self.tensor(shape, self.dtype if draw.random() < 0.8 else draw.choice(DTYPES))
        if kind in ("int", "SymInt"):
            return draw.choice(INTEGERS) if draw.random() < 0.3 else draw.randint(-2, 4)
        plain = {
            "bool": (True, False), "float": FLOATS, "number": (*INTEGERS, *FLOATS, 1 + 2j), "complex": (1j, 0j),
            "str": STRINGS, "ScalarType": DTYPES, "Layout": (torch.strided,), "Device": (torch.device("cpu"),),
            "MemoryFormat": (torch.contiguous_format, torch.preserve_format, torch.channels_last),
        }  # fmt: skip
        return draw.choice(plain[kind])

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor against a guard page, with ordinary or hostile values, now and then with odd strides."""
        count = math.prod(shape)
        if dtype.is_floating_point or dtype.is_complex:
            pool: tuple[Any, ...] = FLOATS if self.draw.random() < 0.3 else (0.1, -0.7, 1.3, 2.0, -1.0, 0.0)
            values = torch.tensor([self.draw.choice(pool) for _ in range(count)], dtype=torch.float64).to(dtype)
        else:
            ends = (-1, 0) if dtype == torch.bool else (-1, torch.iinfo(dtype).min, torch.iinfo(dtype).max)
            pool = self.draw.choice((INTEGERS, (0, 1, 2, 3), (0, 1, 2, 3), ends))
            values = torch.tensor([self.draw.choice(pool) for _ in range(count)], dtype=torch.int64).to(dtype)
        odd, values, at_end = self.draw.random(), values.reshape(shape), self.draw.random() < 0.8
        if values.ndim and odd < 0.15:  # a kernel that assumes dense elements reads beyond the one that there is
            place = self.draw.randrange(values.ndim)
            return guarded(values.narrow(place, 0, min(shape[place], 1)), at_end).expand(shape)
        made = guarded(values, at_end)
        if made.ndim >= 2 and odd < 0.25:
            return made.transpose(-1, -2)
        if made.ndim and made.shape[-1] > 2 and odd > 0.95:
            return made.unfold(-1, 2, 1)  # elements that overlap
        return made


_LIBC = ctypes.CDLL(None, use_errno=True)
_HELD: list[Any] = []
_PAGE = mmap.PAGESIZE


def guarded(tensor: Tensor, at_end: bool = True) -> Tensor:
    """A copy whose last byte (or first) borders on a page that cannot be read or written."""
    data = tensor.detach().resolve_conj().resolve_neg().contiguous()
    size = data.numel() * data.element_size()
    if size == 0:
        return data
    pages = -(-size // _PAGE)
    region = mmap.mmap(-1, (pages + 2) * _PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    for guard in (start, start + (pages + 1) * _PAGE):
        _LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(_PAGE), 0)
    offset = (pages + 1) * _PAGE - size if at_end else _PAGE
    made = torch.frombuffer(region, dtype=data.dtype, count=data.numel(), offset=offset)
    _HELD.append(region)
    return made.copy_(data.flatten()).reshape(data.shape)


def fuzz(overload: Operator, calls: list[Any], sets: int, seed: int) -> Outcome:
    """Call one operator with the argument sets."""
    function = function_of(name_of(overload))

    def prepare(index: int) -> Case:
        hostile = Hostile(f"{name_of(overload)} {seed} {index}")
        called = calls and index % 2
        args, kwargs = hostile.mutated(hostile.draw.choice(calls)) if called else hostile.by_schema(overload)
        return _said(args, kwargs), functools.partial(_call, function, args, kwargs)

    return run_cases(prepare, sets)


def _call(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> str:
    try:
        with torch.no_grad():
            result = function(*args, **kwargs)
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.numel() < 1 << 20:
                leaf.clone()  # read what came back
    except MemoryError:
        return "memory"
    except Exception as error:
        text = str(error)
        return "memory" if "alloc" in text or "out of memory" in text else "refused"
    finally:
        _HELD.clear()
    return "answered"


def _said(args: list[Any], kwargs: dict[str, Any]) -> str:
    def short(value: Any) -> str:
        if isinstance(value, Tensor):
            values = f" {value.flatten().tolist()}" if value.numel() <= 6 else ""
            return f"{str(value.dtype)[6:]}{list(value.shape)}{values}"
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(short(item) for item in value) + "]"
        return repr(value)[:60]

    named = (f"{key}={short(value)}" for key, value in kwargs.items())
    return ", ".join([*(short(value) for value in args), *named])[:900]


def admitted() -> Iterator[Operator]:
    """Everything that a program file may name. Devices are not drawn: a file names only the one that it runs on."""
    yield from PYTHON.values()
    for full in sorted(torch._C._dispatch_get_all_op_names()):
        name, _, overload = full.removeprefix("aten::").partition(".")
        if full.startswith("aten::") and hasattr(torch.ops.aten, name):
            found = getattr(getattr(torch.ops.aten, name), overload or "default", None)
            if found is not None and refusal(found) is None:
                yield found


class _Recorder(fx.Interpreter):
    """Notes the arguments of every call that a traced graph makes."""

    def __init__(self, module: fx.GraphModule, calls: dict[Any, list[Any]]) -> None:
        super().__init__(module)
        self.calls = calls

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(target, OpOverload):
            self.calls.setdefault(target, []).append((args, kwargs))
        return super().call_function(target, args, kwargs)


def recorded_calls() -> dict[Any, list[Any]]:
    """The calls that the operators of the documentation make, by overload; composites as one call."""
    calls: dict[Any, list[Any]] = {}
    for case in cases():
        if case.kind == "deterministic":
            call = case.call.eval() if isinstance(case.call, nn.Module) else case.call
            inputs = case.inputs(2, 0)
            with contextlib.suppress(Exception), torch.no_grad():
                _Recorder(make_fx(call, pre_dispatch=True)(*inputs), calls).run(*inputs)
    return calls


def main() -> None:
    """One line per operator that crashed, hung or ran out of memory, then the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="operators whose name this regular expression finds")
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-calls", action="store_true", help="by schema alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    calls = {} if options.no_calls else recorded_calls()
    chosen = [overload for overload in admitted() if re.search(options.match, name_of(overload))]
    started = time.perf_counter()
    outcomes = {}
    for overload in chosen:
        outcome = outcomes[name_of(overload)] = fuzz(overload, calls.get(overload, []), options.sets, options.seed)
        if outcome.crashed or outcome.hung or outcome.counts["memory"]:
            ended = {"crashed": outcome.crashed, "hung": outcome.hung}
            print(json.dumps({"operator": name_of(overload), **outcome.counts, **ended}), flush=True)
    for key in ("crashed", "hung"):
        bad = [name for name, outcome in outcomes.items() if getattr(outcome, key)]
        holds = bool(chosen) and not bad
        bar("1.12", f"operators that {key}", len(bad), "operators", target=0, holds=holds, of=len(chosen))
    counts = sum((outcome.counts for outcome in outcomes.values()), Counter[str]())
    bar("1.12", "argument sets", counts.total(), "sets", answered=counts["answered"], refused=counts["refused"],
        memory=counts["memory"], seconds=round(time.perf_counter() - started))  # fmt: skip
    machine(("torch",))


if __name__ == "__main__":
    main()
