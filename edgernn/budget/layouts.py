"""Which sizes of a network hang together: what else changes when one layer gets another size.

Every value is a row of segments, each as long as an axis: a hidden state has one segment, the
concatenation of two directions two. Elementwise layers make axes equal; inputs, outputs and
slices that do not fall between segments fix them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgernn.budget.axes import UNITS, Axis, Layout
from edgernn.cells import CELLS
from edgernn.cells.sizes import FACTORS, names_of
from edgernn.graph import Graph, Node

_SAME: Final = ("add", "sub", "mul", "maximum")
_OF_ARRAYS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "linear": {"weight": ("features", "input"), "bias": ("features",)},
    "embedding": {"table": ("rows", "features")},
    "affine": {"weight": ("input",), "bias": ("input",)},
    "layer_norm": {"weight": ("input",), "bias": ("input",)},
}
"""Of layers without state: the shape of each array by name."""


class Layouts:
    """The axes of a graph.

    values: value -> its segments. names: node -> name in the shapes of its arrays -> segments.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._axes: list[Axis] = []
        self._parent: list[int] = []
        self._made_of: dict[int, Layout] = {}
        self._values: dict[str, Layout] = {}
        self._names: dict[str, dict[str, Layout]] = {}
        self._factors: dict[str, dict[str, int]] = {}
        for name in graph.inputs:
            reason = f"the model reads {name}"
            self._values[name] = (self._axis(Axis(graph.sizes[name], fixed=reason)),)
        for node in graph.nodes:
            (self._cell if node.kind in CELLS else self._layer)(node)
        self._tie_directions()
        for output in graph.outputs:
            self._return(output.name, output.value)
        for f in graph.feedback:
            self._fix(self._values[f.output], f"{f.output} is fed back as {f.input}")

    # What is asked -----------------------------------------------------------------------------

    def axes(self) -> dict[int, Axis]:
        """The axes that may change, in the order of the layers."""
        roots = dict.fromkeys(i for n in range(len(self._axes)) for i in self.expand((n,)))
        found = {root: self._axes[root] for root in roots}
        return {i: a for i, a in found.items() if a.what and not a.fixed}

    def fixed(self) -> dict[int, Axis]:
        """The layers' own axes that cannot change, with the reason."""
        roots = dict.fromkeys(i for n in range(len(self._axes)) for i in self.expand((n,)))
        return {i: a for i in roots if (a := self._axes[i]).what and a.fixed}

    def layout(self, value: str) -> Layout:
        """The segments of a value."""
        return self.expand(self._values[value])

    def shape(self, node: Node, array: str) -> tuple[Layout, ...]:
        """The segments along each axis of an array of a node."""
        names = self._names[node.name]
        if node.kind in CELLS:
            sizes = CELLS[node.kind].shapes[array]
        else:
            sizes = _OF_ARRAYS[node.kind][array]
        return tuple(self._product(node, size, names) for size in sizes)

    def numbers(self, node: Node, sizes: Mapping[int, int]) -> dict[str, float]:
        """The numbers of a node, those that are sizes too as they are at other sizes of axes."""
        names = self._names.get(node.name, {})
        return {
            key: self.total(self.expand(names[key]), sizes) if key in names else value
            for key, value in node.numbers.items()
        }

    def expand(self, layout: Layout) -> Layout:
        """The same segments by the axes that stand for them."""
        result: list[int] = []
        for axis in layout:
            root = self._root(axis)
            result += self.expand(self._made_of[root]) if root in self._made_of else (root,)
        return tuple(result)

    def total(self, layout: Layout, sizes: Mapping[int, int]) -> int:
        """Features in all, at other sizes of some axes."""
        return sum(sizes.get(i, self._axes[i].size) for i in layout)

    def size(self, axis: int) -> int:
        """The size that an axis has in the graph."""
        return self._axes[axis].size

    # How it is found ---------------------------------------------------------------------------

    def _axis(self, axis: Axis) -> int:
        self._axes.append(axis)
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def _root(self, axis: int) -> int:
        while self._parent[axis] != axis:
            axis = self._parent[axis]
        return axis

    def _fix(self, layout: Layout, reason: str) -> None:
        for i in self.expand(layout):
            self._axes[i].fixed = self._axes[i].fixed or reason

    def _join(self, one: Layout, other: Layout, where: str) -> None:
        """Make two layouts the same."""
        one, other = self.expand(one), self.expand(other)
        if one == other:
            return
        if len(one) != len(other):
            single, parts = (one, other) if len(one) == 1 else (other, one)
            free = len(single) == 1 and self._axes[single[0]].what == "features"
            if free and single[0] not in parts and not self._axes[single[0]].fixed:
                # The rows of a product can be cut anywhere.
                self._made_of[single[0]] = parts
                return
        if [self._axes[i].size for i in one] != [self._axes[i].size for i in other]:
            for layout in (one, other):
                self._fix(layout, f"{where} adds up values that are laid out differently")
            return
        for i, j in zip(one, other, strict=True):
            self._unite(self._root(i), self._root(j))

    def _unite(self, i: int, j: int) -> None:
        if i == j:
            return
        a, b = self._axes[i], self._axes[j]
        # A layer that carries states gives the axis its name.
        weak = ("", "features")
        first, second = (b, a) if a.what in weak and b.what not in weak else (a, b)
        self._axes[i] = Axis(
            a.size,
            first.what or second.what,
            [*first.layers, *(n for n in second.layers if n not in first.layers)],
            a.fixed or b.fixed,
            max(a.least, b.least),
            a.returned or b.returned,
        )
        self._parent[j] = i

    def _cell(self, node: Node) -> None:
        cell, reads = CELLS[node.kind], [self._values[name] for name in node.inputs]
        sizes = cell.sizes_of(node, [self.graph.sizes[name] for name in node.inputs])
        names: dict[str, Layout] = {}
        for size, layout in zip(cell.reads, reads, strict=True):
            own = names_of(size)[1]
            # Of several names, as of a convolution in groups, one is the input's size.
            wide = [name for name in own if sizes[name] != 1] or [own[0]]
            for name in own:
                if len(wide) > 1 or name != wide[0]:
                    reason = f"{node.name} is a convolution in {sizes.get('groups', 1)} groups"
                    names.setdefault(name, (self._axis(Axis(sizes[name], fixed=reason)),))
            if len(wide) > 1:
                self._fix(layout, reason)
            elif wide[0] in names:
                self._join(names[wide[0]], layout, node.name)
            else:
                names[wide[0]] = layout
        for name, value in sizes.items():
            if name not in names and name not in FACTORS:
                what = name if name in UNITS else ""
                fixed = "" if what else f"{name} of {node.name} is a choice of its own"
                names[name] = (self._axis(Axis(value, what, [node.name], fixed)),)
        if node.kind == "hopfield":
            self._fix(names["hidden"], f"{node.name} holds patterns of its size")
        if node.kind == "lstm_projection":
            self._axes[self._root(names["hidden"][0])].least = sizes["projection"] + 1
        self._names[node.name] = names
        self._factors[node.name] = {name: sizes[name] for name in FACTORS if name in sizes}
        for output, size in zip(node.outputs, cell.sizes, strict=True):
            self._values[output] = self._product(node, size, names)

    def _product(self, node: Node, size: str, names: Mapping[str, Layout]) -> Layout:
        """The segments of a size such as 3*hidden."""
        number, own = names_of(size)
        factors = self._factors.get(node.name, {})
        layouts = []
        for name in own:
            if name in factors:
                number *= factors[name]
            else:
                layouts.append(self.expand(names[name]))
        wide = [layout for layout in layouts if self.total(layout, {}) != 1] or layouts[:1]
        if not wide:
            return self._constant(number)
        if len(wide) > 1:
            for layout in wide:
                self._fix(layout, f"{node.name} is a convolution in groups")
            for layout in wide[1:]:
                number *= self.total(layout, {})
        return number * wide[0]

    def _constant(self, size: int) -> Layout:
        return (self._axis(Axis(size, fixed="it is part of the layer")),)

    def _layer(self, node: Node) -> None:
        reads = [self._values[name] for name in node.inputs]
        names = {"input": reads[0]}
        result = reads[0]
        if node.kind in ("linear", "embedding"):
            size = self.graph.sizes[node.name]
            result = (self._axis(Axis(size, "features", [node.name])),)
            names["features"] = result
            if node.kind == "embedding":
                rows = Axis(len(node.arrays["table"]), "rows", [node.name])
                names["rows"] = (self._axis(rows),)
        elif node.kind == "concat":
            result = tuple(axis for layout in reads for axis in layout)
        elif node.kind in _SAME:
            self._join(reads[0], reads[1], node.name)
        elif node.kind == "slice":
            result = self._slice(node, reads[0])
        elif len(reads) != 1 or self.graph.sizes[node.name] != self.total(self.expand(result), {}):
            for layout in reads:
                self._fix(layout, f"{node.name} ({node.kind}) is of one size")
            result = self._constant(self.graph.sizes[node.name])
        self._names[node.name] = names
        self._values[node.name] = result

    def _slice(self, node: Node, read: Layout) -> Layout:
        layout, begin = self.expand(read), 0
        end = node.begin + self.graph.sizes[node.name]
        chosen: list[int] = []
        for axis in layout:
            after = begin + self._axes[axis].size
            if node.begin <= begin and after <= end:
                chosen.append(axis)
            elif begin < end and node.begin < after:
                self._fix(layout, f"{node.name} takes a fixed slice of it")
                return self._constant(self.graph.sizes[node.name])
            begin = after
        return tuple(chosen)

    def begin(self, node: Node, sizes: Mapping[int, int]) -> int:
        """Where a slice begins at other sizes."""
        if node.kind != "slice":
            return node.begin
        position = moved = 0
        for axis in self.layout(node.inputs[0]):
            if position >= node.begin:
                break
            step = min(self._axes[axis].size, node.begin - position)
            whole = step == self._axes[axis].size
            moved += sizes.get(axis, step) if whole else step
            position += step
        return moved

    def _tie_directions(self) -> None:
        """Both directions of a layer have the same sizes."""
        seen: dict[tuple[object, ...], Node] = {}
        for node in self.graph.nodes:
            if node.kind not in CELLS or not node.carried:
                continue
            key = (node.kind, node.inputs, node.mask)
            other = seen.pop(key, None)
            if other is None or other.reverse == node.reverse:
                seen[key] = node
                continue
            for name, layout in self._names[node.name].items():
                self._join(self._names[other.name][name], layout, node.name)

    def _return(self, name: str, value: str) -> None:
        for i in self.expand(self._values[value]):
            axis = self._axes[i]
            if axis.what in ("hidden", "projection"):
                axis.returned = True
            else:
                self._fix((i,), f"the model returns it as {name}")
