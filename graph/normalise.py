"""Turns an exported program into our one representation: flat, functional, parameters as attributes.

Gone before this: in-place operators (`functional.py`) and operators that a program file may not name, where torch knows
what they are made of (`decomposition.py`). Removed here: guards, metadata asserts, `detach` and `alias` (they would cut
the gradient), copies that change nothing. Rewritten: `torch.cond` as both branches (`branches.py`), complex tensors as
pairs (`pairs.py`). Made explicit: every size that depends on the batch is computed from one `batch` node, and tensors
made from another tensor's shape alone (`zeros_like`) from that size, so that they are recomputed in the cloud half and
never cross.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from ..records import TraceError
from .admission import require_dense
from .branches import inlined, is_branch
from .operators import draws_random_numbers, require_admitted
from .pairs import see_complex_as_pairs
from .refusals import user_line
from .sizes import counts_on_batch, symbolic
from .structures import InputSpec, NodeKind
from .weights import Held

aten = torch.ops.aten

_HELD: dict[InputKind, Held] = {
    InputKind.PARAMETER: "parameter",
    InputKind.BUFFER: "buffer",
    InputKind.CONSTANT_TENSOR: "constant",
}

_IDENTITY = {
    aten.alias.default, aten.clone.default, aten.contiguous.default, aten.detach.default, aten.detach_.default,
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default, aten.lift_fresh_copy.default,
    aten.lift_fresh.default, aten.slice.Tensor, aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout,
    aten.to.device, aten.expand.default, aten.view.default, aten.reshape.default, aten.permute.default,
    aten._unsafe_view.default,
}  # fmt: skip
"""Operators that return their argument unchanged whenever dtype, shape and strides stay the same."""

_DROPPED = {
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
    "sym_constrain_range_for_size", "_functional_assert_async", "_print",
}  # fmt: skip

_FILLS: dict[Any, float | None] = {
    aten.zeros_like.default: 0, aten.ones_like.default: 1, aten.empty_like.default: 0, aten.full_like.default: None,
    aten.new_zeros.default: 0, aten.new_ones.default: 1, aten.new_empty.default: 0, aten.new_full.default: None,
    aten.empty.memory_format: 0, aten.empty_strided.default: 0, aten.new_empty_strided.default: 0,
    aten.empty_permuted.default: 0, aten.zero.default: 0, aten.fill.Scalar: None,
}  # fmt: skip
"""Tensors that depend on a shape alone; uninitialised ones become zeros, so that a run is reproducible."""


_SHAPED_LIKE: dict[Any, Any] = {
    aten.expand_as.default: aten.expand.default,
    aten.view_as.default: aten.reshape.default,
    aten.reshape_as.default: aten.reshape.default,
}
"""Operators that take a shape from a tensor, and those that take its sizes."""

_WHATEVER_STRIDES: dict[Any, Any] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}
"""A view is legal for some strides only, and strides change on a wire and with gradients; a reshape always is."""

_AT_ONCE: dict[Any, Any] = {
    aten._conj.default: aten.conj_physical.default,
    aten._conj_physical.default: aten.conj_physical.default,
    aten._neg_view.default: aten.neg.default,
}
"""Signs that torch only notes on a tensor; a file and a wire hold values alone."""


def normalise(
    program: ExportedProgram, specs: tuple[InputSpec, ...]
) -> tuple[fx.GraphModule, dict[str, NodeKind], sympy.Expr | None, list[str]]:
    """The flat graph, each node's kind, the batch's symbol (None: the batch is fixed), and notes for the user.

    Raises:
        TraceError: state kept between calls, random draws, or operators that have no flat form.
    """
    builder = _Builder(program, specs)
    builder.build()
    flat = fx.GraphModule(builder.attributes, builder.graph)
    flat.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    see_complex_as_pairs(flat, classify(flat.graph, specs, builder.batch_symbol))
    kinds = classify(flat.graph, specs, builder.batch_symbol)
    return flat, kinds, builder.batch_symbol, builder.notes


def classify(graph: fx.Graph, specs: tuple[InputSpec, ...], batch: sympy.Expr | None) -> dict[str, NodeKind]:
    """What each node's result depends on: private values, public inputs alone, shapes, or nothing.

    The size of a tensor whose shape depends on values depends on those values.
    """
    public = {spec.name for spec in specs if spec.public}
    order: list[NodeKind] = ["constant", "shape", "public", "value"]
    kinds: dict[str, NodeKind] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            kinds[node.name] = "public" if node.meta["input"] in public else "value"
        elif node.op == "get_attr":
            kinds[node.name] = "constant"
        elif node.target is aten.sym_size.int and counts_on_batch(node.meta["val"], batch):
            kinds[node.name] = "shape"
        else:
            below = [kinds[source.name] for source in node.all_input_nodes]
            kinds[node.name] = max(below, key=order.index, default="constant")
    return kinds


class _Builder:
    """Copies one exported graph node by node; each `_copy_*` is one rule of the module docstring."""

    def __init__(self, program: ExportedProgram, specs: tuple[InputSpec, ...]) -> None:
        self.program = program
        self.specs = specs
        self.graph = fx.Graph()
        self.attributes: dict[str, Any] = {}
        self.notes: list[str] = []
        self.new: dict[fx.Node, Any] = {}
        self.sizes: dict[sympy.Expr, fx.Node] = {}
        self.batch_symbol: sympy.Expr | None = None
        self.stored: dict[tuple[Any, ...], str] = {}

    def build(self) -> None:
        old = list(self.program.graph.nodes)
        self._copy_inputs([node for node in old if node.op == "placeholder"])
        for node in old:
            if node.op == "call_function":
                self._copy_call(node)
            elif node.op == "output":
                self._copy_output(node)
            elif node.op != "placeholder" and not is_branch(node):
                raise TraceError(f"the traced graph holds {node.op} {node.target}, which has no flat form")

    # inputs -------------------------------------------------------------------------------------

    def _copy_inputs(self, placeholders: list[fx.Node]) -> None:
        user = iter(self.specs)
        lifted: list[tuple[fx.Node, Any, Held]] = []
        for node, spec in zip(placeholders, self.program.graph_signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT:
                given = next(user)
                if isinstance(spec.arg, ConstantArgument) or not given.is_tensor:
                    self.new[node] = given.constant
                    continue
                made = self.graph.placeholder(node.name)
                made.meta.update(val=node.meta["val"], input=given.name, modules=())
                self.new[node] = made
                self._find_batch(made, given)
            elif spec.kind in _HELD:
                held = "computed" if spec.persistent is False else _HELD[spec.kind]
                lifted.append((node, spec.target, held))
            else:
                raise TraceError(
                    f"the model holds {spec.kind.name.lower()} {spec.target!r}, which a plan cannot carry; use "
                    "plain tensors, parameters and buffers"
                )
        for node, target, held in lifted:
            self.new[node] = self._attribute(node, target, held)

    def _find_batch(self, node: fx.Node, spec: InputSpec) -> None:
        """The first input with a free batch dimension gives the one `batch` node."""
        if self.batch_symbol is not None or spec.batch_dim is None:
            return
        expression = symbolic(node.meta["val"].shape[spec.batch_dim])
        if expression is not None:
            self.batch_symbol = expression
            self.batch_source = (node, spec.batch_dim)

    def _attribute(self, node: fx.Node, target: str, held: Held) -> fx.Node:
        """A parameter, buffer or constant as attribute; tied tensors are stored once.

        `requires_grad` stays as it is: matmul takes another path, with other rounding, where a weight has it. A frozen
        parameter is a parameter all the same.
        """
        value = self.program.state_dict.get(target)
        if value is None:
            value = self.program.constants[target]
        require_dense(f"the model's tensor {target!r}", value)
        if value.is_conj() or value.is_neg():  # it may share its memory with what it is the conjugate of
            value = value.detach().resolve_conj().resolve_neg().requires_grad_(value.requires_grad)
        key: tuple[Any, ...] = (target,)
        if value.numel():
            key = (value.data_ptr(), value.dtype, tuple(value.shape), tuple(value.stride()))
        name = self.stored.setdefault(key, target)
        if name not in self.attributes:
            plain = value.detach().clone() if value.is_inference() else value.detach()  # those take no gradient
            wanted = value.requires_grad
            is_parameter = held == "parameter" or wanted
            self.attributes[name] = torch.nn.Parameter(plain, requires_grad=wanted) if is_parameter else plain
        made = self.graph.create_node("get_attr", name)
        made.meta.update(val=node.meta["val"], modules=(), held=held)
        return made

    # calls --------------------------------------------------------------------------------------

    def _copy_call(self, node: fx.Node) -> None:
        target, value = node.target, node.meta.get("val")
        if isinstance(value, (torch.SymInt, int)) and not isinstance(value, bool) and target is not operator.getitem:
            size = self._size(value)
            if size is not None:
                self.new[node] = size
                return
        name = getattr(target, "_schema", None) and target._schema.name.split("::")[-1]  # type: ignore[union-attr]
        if name in _DROPPED:
            return
        if target is torch.ops.higher_order.cond:
            self.new[node], notes = inlined(node, self.graph, self.new, self._copy_call)
            self.notes.extend(notes)
            return
        if target is operator.getitem and isinstance(self.new.get(node.args[0]), tuple):  # type: ignore[arg-type]
            self.new[node] = self.new[node.args[0]][node.args[1]]  # type: ignore[index]
            return
        if isinstance(target, torch._ops.OpOverload):
            self._require_functional(node, target)
            if target in _IDENTITY and self._changes_nothing(node):
                self.new[node] = self.new[node.args[0]]  # type: ignore[index]
                return
            if target in _FILLS:
                self.new[node] = self._fill(node, target)
                return
            if target in _SHAPED_LIKE:
                self.new[node] = self._shaped(node, _SHAPED_LIKE[target])
                return
            if target is aten.copy.default:
                self.new[node] = self._overwritten(node)
                return
        elif not callable(target) or isinstance(target, torch._ops.HigherOrderOperator):
            called = getattr(target, "__name__", target)
            raise TraceError(
                f"the model calls {called}{user_line(node)}, which has no flat form; write a loop as a Python "
                "loop with a fixed number of steps, a branch as torch.where or torch.cond"
            )
        args, kwargs = self._map(node.args), self._map(node.kwargs)
        target = _WHATEVER_STRIDES.get(target, _AT_ONCE.get(target, target))
        if target is aten.view_as_real.default:  # export sees no sign that a Fourier transform only notes
            resolved = self.graph.call_function(aten.resolve_conj.default, args)
            self._describe(resolved, node.args[0])  # type: ignore[arg-type]
            args = (resolved,)
        if isinstance(target, torch._ops.OpOverload):
            require_admitted(target, user_line(node))
        made = self.graph.create_node("call_function", target, args, kwargs, name=node.name)
        self._describe(made, node)
        self.new[node] = made

    def _require_functional(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        if draws_random_numbers(target, node.args, node.kwargs):
            raise TraceError(
                f"the model draws random numbers in eval mode ({target}{user_line(node)}); switch them off "
                "outside training"
            )
        if target._schema.is_mutable:
            raise TraceError(f"the traced graph still writes in place ({target}{user_line(node)})")

    def _changes_nothing(self, node: fx.Node) -> bool:
        before, after = node.args[0], node.meta["val"]
        if not isinstance(before, fx.Node) or not isinstance(before.meta.get("val"), Tensor):
            return False
        given = before.meta["val"]
        same_layout = _same_sizes(given.shape, after.shape) and _same_sizes(given.stride(), after.stride())
        return bool(given.dtype == after.dtype and given.device == after.device and same_layout)

    def _fill(self, node: fx.Node, target: Any) -> fx.Node:
        value = node.meta["val"]
        content = _FILLS[target]
        if content is None:
            content = self._map(node.args[2 if target is aten.new_full.default else 1])
        size = [self._dimension(extent) for extent in value.shape]
        options = {"dtype": value.dtype, "device": value.device}
        made = self.graph.create_node("call_function", aten.full.default, (size, content), options, name=node.name)
        self._describe(made, node)
        return made

    def _shaped(self, node: fx.Node, target: Any) -> fx.Node:
        """A tensor in the shape of another: by its sizes, so that the other need not be there."""
        sizes = [self._dimension(extent) for extent in node.meta["val"].shape]
        made = self.graph.call_function(target, (self._map(node.args[0]), sizes))
        self._describe(made, node)
        return made

    def _overwritten(self, node: fx.Node) -> fx.Node:
        """`copy(old, new)` as `new` in the shape and dtype of `old`: `copy` has no derivative, nor need of the old."""
        source, value = node.args[1], node.meta["val"]
        given = source.meta["val"]  # type: ignore[union-attr]
        made = self.new[source]  # type: ignore[index]
        if given.dtype != value.dtype:
            made = self.graph.call_function(aten._to_copy.default, (made,), {"dtype": value.dtype})
            self._describe(made, node)
            made.meta["val"] = given.to(value.dtype)
        if not _same_sizes(given.shape, value.shape):
            made = self.graph.call_function(aten.expand.default, (made, [self._dimension(d) for d in value.shape]))
            self._describe(made, node)
        return made  # type: ignore[no-any-return]

    def _describe(self, made: fx.Node, node: fx.Node) -> None:
        made.meta.update(val=node.meta.get("val"), modules=_modules(node), stack_trace=node.meta.get("stack_trace"))

    # sizes --------------------------------------------------------------------------------------

    def _dimension(self, extent: Any) -> Any:
        size = self._size(extent)
        if size is None:
            raise TraceError(f"a tensor's size ({extent}) depends on tensor values; make it depend on shapes alone")
        return size

    def _size(self, value: torch.SymInt | int) -> Any:
        """A size as an integer or as a node computed from the batch; None where it depends on values."""
        expression = symbolic(value)
        if expression is None:
            return int(value)
        if not counts_on_batch(value, self.batch_symbol):
            return None
        return self._expression(expression, value)

    def _expression(self, expression: sympy.Expr, value: Any) -> Any:
        if expression.is_Integer:
            return int(expression)
        if expression in self.sizes:
            return self.sizes[expression]
        if expression == self.batch_symbol:
            source, dimension = self.batch_source
            made = self.graph.call_function(aten.sym_size.int, (source, dimension))
        else:
            function = _arithmetic(expression)
            if function is None:
                return None
            terms = [self._expression(term, value) for term in expression.args]
            if any(term is None for term in terms):
                return None
            made = terms[0]
            for term in terms[1:]:
                made = self.graph.call_function(function, (made, term))
        made.meta.update(val=value, modules=())
        self.sizes[expression] = made
        return made

    # outputs ------------------------------------------------------------------------------------

    def _copy_output(self, node: fx.Node) -> None:
        kept = []
        for value, spec in zip(node.args[0], self.program.graph_signature.output_specs, strict=True):  # type: ignore[arg-type]
            if spec.kind is OutputKind.USER_OUTPUT:
                kept.append(self.new[value] if isinstance(value, fx.Node) else value)
            elif spec.kind is OutputKind.USER_INPUT_MUTATION:
                self.notes.append(f"the model writes into its input {spec.target!r}; the halves leave it unchanged")
            elif spec.kind is OutputKind.BUFFER_MUTATION:
                self._require_stateless(spec.target)
        made = self.graph.output(tuple(kept))
        made.meta.update(val=None, modules=())

    def _require_stateless(self, target: str | None) -> None:
        """A counter that is only written is dropped; a buffer that the output reads is state."""
        signature = self.program.graph_signature
        names = [spec.arg.name for spec in signature.input_specs if spec.target == target]
        outputs = set(signature.user_outputs)
        reached, queue = set(), [node for node in self.program.graph.nodes if node.name in names]
        while queue:
            node = queue.pop()
            for user in node.users:
                if user not in reached and user.op != "output":
                    reached.add(user)
                    queue.append(user)
        if any(node.name in outputs for node in reached):
            raise TraceError(
                f"the model keeps state between calls in buffer {target!r} and its output depends on it; pass that "
                "state in and out as tensors"
            )

    def _map(self, arguments: Any) -> Any:
        return fx.map_arg(arguments, lambda node: self.new[node])


def _same_sizes(left: Iterable[Any], right: Iterable[Any]) -> bool:
    """Are two shapes, or strides, the same for every batch?

    Sizes are compared as expressions. torch answers `batch == 2` by the example's batch, and an answer of yes makes
    every size of the graph the constant 2; sizes that depend on values it refuses to compare at all.
    """
    first, second = ([symbolic(size) or int(size) for size in sizes] for sizes in (left, right))
    return first == second


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "PythonMod": operator.mod,
    "Mod": operator.mod,
}


def _arithmetic(expression: sympy.Expr) -> Callable[..., Any] | None:
    if expression.is_Mul:
        return operator.mul
    if expression.is_Add:
        return operator.add
    return _ARITHMETIC.get(type(expression).__name__)


def _modules(node: fx.Node) -> tuple[tuple[str, str], ...]:
    """(path, class) of the modules around a node, outermost first, without the root."""
    stack = node.meta.get("nn_module_stack") or {}
    found = []
    for path, kind in stack.values():
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if path and not path.startswith("_empty_nn_module_stack"):
            found.append((path.removeprefix("L['self']."), name))
    return tuple(found)
