"""Turns an exported program into our one representation: flat, functional, parameters as attributes.

Gone before this: in-place operators (`functional`) and operators that a program file may not name, where torch knows
what they are made of (`decomposition`). Removed here: guards, metadata asserts, `detach` and `alias` (they would cut
the gradient), copies that change nothing. Rewritten: `torch.cond` as both branches (`branches`), complex tensors as
pairs (`pairs`). Made explicit: every size that depends on the batch is computed from one `batch` node (`batch_sizes`),
and tensors made from another tensor's shape alone (`zeros_like`) from that size, so that they are recomputed in the
cloud half and never cross.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from ..records import TraceError
from .admission import require_dense
from .ancestors import ancestors
from .batch_sizes import BatchSizes
from .branches import inlined, is_branch
from .node_kinds import classify
from .normal_forms import DROPPED, FILLS, SHAPED_LIKE, changes_nothing, fill_place, replacement
from .operators import draws_random_numbers, require_admitted
from .pairs import see_complex_as_pairs
from .refusals import user_line
from .sizes import same_sizes
from .traced_graph import InputSpec, NodeKind
from .weights import Held

if TYPE_CHECKING:
    import sympy

aten = torch.ops.aten

_HELD: dict[InputKind, Held] = {
    InputKind.PARAMETER: "parameter",
    InputKind.BUFFER: "buffer",
    InputKind.CONSTANT_TENSOR: "constant",
}


def normalise(
    program: ExportedProgram, specs: tuple[InputSpec, ...]
) -> tuple[fx.GraphModule, dict[str, NodeKind], sympy.Expr | None, list[str]]:
    """The flat graph, each node's kind, the batch's symbol (None: the batch is fixed), and notes for the user.

    Args:
        program: functional, of admitted operators.
        specs: the model's inputs.

    Raises:
        TraceError: state kept between calls, random draws, or operators that have no flat form.
    """
    builder = _Builder(program, specs)
    builder.build()
    flat = fx.GraphModule(builder.attributes, builder.graph)
    flat.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    batch = builder.sizes.symbol
    see_complex_as_pairs(flat, classify(flat.graph, specs, batch))
    return flat, classify(flat.graph, specs, batch), batch, builder.notes


class _Builder:
    """Copies one exported graph node by node."""

    def __init__(self, program: ExportedProgram, specs: tuple[InputSpec, ...]) -> None:
        self.program = program
        self.specs = specs
        self.graph = fx.Graph()
        self.sizes = BatchSizes(self.graph)
        self.attributes: dict[str, Any] = {}
        self.notes: list[str] = []
        self.new: dict[fx.Node, Any] = {}
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
                self.sizes.read_from(made, given.batch_dim)
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

    def _attribute(self, node: fx.Node, target: str, held: Held) -> fx.Node:
        """A parameter, buffer or constant as attribute; tied tensors are stored once.

        `requires_grad` stays as it is: matmul takes another path, with other rounding, for a weight that has it. A
        frozen parameter is a parameter all the same.
        """
        value = self.program.state_dict.get(target)
        if value is None:
            value = self.program.constants[target]
        require_dense(f"the model's tensor {target!r}", value)
        if value.is_conj() or value.is_neg():  # it may share its memory with the tensor that it is the conjugate of
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
            size = self.sizes.size(value)
            if size is not None:
                self.new[node] = size
                return
        name = getattr(target, "_schema", None) and target._schema.name.split("::")[-1]  # type: ignore[union-attr]
        if name in DROPPED:
            return
        if target is torch.ops.higher_order.cond:
            self.new[node], notes = inlined(node, self.graph, self.new, self._copy_call)
            self.notes.extend(notes)
        elif target is operator.getitem and isinstance(self.new.get(node.args[0]), tuple):  # type: ignore[arg-type]
            self.new[node] = self.new[node.args[0]][node.args[1]]  # type: ignore[index]
        elif isinstance(target, torch._ops.OpOverload):
            _require_functional(node, target)
            self.new[node] = self._operator(node, target)
        elif not callable(target) or isinstance(target, torch._ops.HigherOrderOperator):
            called = getattr(target, "__name__", target)
            raise TraceError(
                f"the model calls {called}{user_line(node)}, which has no flat form; write a loop as a Python "
                "loop with a fixed number of steps, a branch as torch.where or torch.cond"
            )
        else:
            self.new[node] = self._called(node, target, self._map(node.args))

    def _operator(self, node: fx.Node, target: torch._ops.OpOverload) -> fx.Node:
        """An ATen operator in its normal form."""
        if changes_nothing(node):
            return self.new[node.args[0]]  # type: ignore[no-any-return, index]
        if target in FILLS:
            return self._fill(node, target)
        if target in SHAPED_LIKE:
            return self._shaped(node, SHAPED_LIKE[target])
        if target is aten.copy.default:
            return self._overwritten(node)
        args = self._map(node.args)
        if target is aten.view_as_real.default:  # export does not see that a Fourier transform only notes a sign
            resolved = self.graph.call_function(aten.resolve_conj.default, args)
            _describe(resolved, node.args[0])  # type: ignore[arg-type]
            args = (resolved,)
        target = replacement(target)
        require_admitted(target, user_line(node))
        return self._called(node, target, args)

    def _called(self, node: fx.Node, target: Any, args: Any) -> fx.Node:
        made = self.graph.create_node("call_function", target, args, self._map(node.kwargs), name=node.name)
        _describe(made, node)
        return made

    def _fill(self, node: fx.Node, target: torch._ops.OpOverload) -> fx.Node:
        value, content = node.meta["val"], FILLS[target]
        if content is None:
            content = self._map(node.args[fill_place(target)])
        size = [self.sizes.dimension(extent) for extent in value.shape]
        options = {"dtype": value.dtype, "device": value.device}
        made = self.graph.create_node("call_function", aten.full.default, (size, content), options, name=node.name)
        _describe(made, node)
        return made

    def _shaped(self, node: fx.Node, target: Any) -> fx.Node:
        """A tensor in the shape of another: by its sizes, so that the other need not be there."""
        sizes = [self.sizes.dimension(extent) for extent in node.meta["val"].shape]
        made = self.graph.call_function(target, (self._map(node.args[0]), sizes))
        _describe(made, node)
        return made

    def _overwritten(self, node: fx.Node) -> fx.Node:
        """`copy(old, new)` as `new` in the shape and dtype of `old`: `copy` has no derivative and ignores `old`."""
        source, value = node.args[1], node.meta["val"]
        given = source.meta["val"]  # type: ignore[union-attr]
        made = self.new[source]  # type: ignore[index]
        if given.dtype != value.dtype:
            made = self.graph.call_function(aten._to_copy.default, (made,), {"dtype": value.dtype})
            _describe(made, node)
            made.meta["val"] = given.to(value.dtype)
        if not same_sizes(given.shape, value.shape):
            sizes = [self.sizes.dimension(extent) for extent in value.shape]
            made = self.graph.call_function(aten.expand.default, (made, sizes))
            _describe(made, node)
        return made  # type: ignore[no-any-return]

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
        """A counter that is only written is dropped; a buffer that the output depends on is state."""
        signature = self.program.graph_signature
        names = {spec.arg.name for spec in signature.input_specs if spec.target == target}
        outputs = set(signature.user_outputs)
        read = ancestors(node for node in self.program.graph.nodes if node.name in outputs and node.name not in names)
        if any(node.name in names for node in read):
            raise TraceError(
                f"the model keeps state between calls in buffer {target!r} and its output depends on it; pass that "
                "state in and out as tensors"
            )

    def _map(self, arguments: Any) -> Any:
        return fx.map_arg(arguments, lambda node: self.new[node])


def _require_functional(node: fx.Node, target: torch._ops.OpOverload) -> None:
    if draws_random_numbers(target, node.args, node.kwargs):
        raise TraceError(
            f"the model draws random numbers in eval mode ({target}{user_line(node)}); switch them off outside training"
        )
    if target._schema.is_mutable:
        raise TraceError(f"the traced graph still writes in place ({target}{user_line(node)})")


def _describe(made: fx.Node, node: fx.Node) -> None:
    made.meta.update(val=node.meta.get("val"), modules=_modules(node), stack_trace=node.meta.get("stack_trace"))


def _modules(node: fx.Node) -> tuple[tuple[str, str], ...]:
    """(path, class) of the modules around a node, outermost first, without the root."""
    stack = node.meta.get("nn_module_stack") or {}
    found = []
    for path, kind in stack.values():
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if path and not path.startswith("_empty_nn_module_stack"):
            found.append((path.removeprefix("L['self']."), name))
    return tuple(found)
