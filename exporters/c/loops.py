"""Fused loops as C functions; layers of one kind share theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgernn.exporters.c import elements
from edgernn.exporters.c.actions import Loop
from edgernn.exporters.c.identifiers import local_names
from edgernn.exporters.c.layout import fill
from edgernn.exporters.c.pieces import Vector


@dataclass
class Loops:
    """The loop functions of a model: those with the same body are one."""

    prefix: str
    functions: list[str] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)

    def function(self, loop: Loop) -> str:
        """The name of the function that runs this loop; it is written if it is new."""
        numbered = {v: f"v{i}" for i, v in enumerate(vectors(loop))}
        key = text_of(loop, numbered)
        if key not in self._known:
            name = f"{self.prefix}_loop_{len(self.functions)}"
            loads, tables = len(loop.loads), [f"t{i}" for i in range(len(loop.tables))]
            taken = ("i", "n", *(f"p{i}" for i in range(loads + len(loop.stores))), *tables)
            named = local_names((v.name for v in vectors(loop)), taken, f"{self.prefix}_")
            variables = {v: named[v.name] for v in vectors(loop)}
            parameters = [f"const int16_t *p{i}" for i in range(loads)]
            parameters += [f"int16_t *p{loads + i}" for i in range(len(loop.stores))]
            parameters += [f"const int16_t *{table}" for table in tables]
            text = [
                fill(f"static void {name}(", [*parameters, "int n"], ")"),
                "{",
                *(f"    {line}" for line in head(loop, variables)),
                "    int i;",
                "    for (i = 0; i < n; i += EDGERNN_LANES) {",
                *(_statement(line) for line in body(loop, variables)),
                "    }",
                "}",
            ]
            self.functions.append("\n".join(text))
            self._known[key] = name
        return self._known[key]


def _statement(line: str) -> str:
    head, _, arguments = line.partition("(")
    return fill(f"        {head}(", arguments.removesuffix(");").split(", "), ");")


def text_of(loop: Loop, names: dict[Vector, str]) -> str:
    """All that a loop does."""
    return "\n".join([*head(loop, names), *body(loop, names)])


def head(loop: Loop, names: dict[Vector, str]) -> list[str]:
    """The statements before a loop: loads of one element that counts for all."""
    return [
        f"const edgernn_lanes_t {names[vector]} = edgernn_broadcast(p{i});"
        for i, (vector, _) in enumerate(loop.loads)
        if vector.size != loop.size
    ]


def body(loop: Loop, names: dict[Vector, str]) -> list[str]:
    """The statements of a loop: operators, before each the loads of it, from p0, p1, ...; stores.

    Loads stand as late as they can: values that wait take registers.
    """
    loads = {
        vector: f"const edgernn_lanes_t {names[vector]} = edgernn_load(p{i}, i, n);"
        for i, (vector, _) in enumerate(loop.loads)
        if vector.size == loop.size
    }
    gates = {o.output for o in loop.operations if o.kind == "logistic"}
    lines: list[str] = []
    for operation in loop.operations:
        lines += [loads.pop(v) for v in dict.fromkeys(operation.inputs) if v in loads]
        expression = elements.call(operation, names, gates, loop.tables)
        lines.append(f"const edgernn_lanes_t {names[operation.output]} = {expression};")
    lines += [
        f"edgernn_store(p{i}, i, n, {names[vector]});"
        for i, (vector, _) in enumerate(loop.stores, len(loop.loads))
    ]
    return lines


def vectors(loop: Loop) -> list[Vector]:
    """What a loop loads, and then what it computes."""
    return [*(v for v, _ in loop.loads), *(o.output for o in loop.operations)]
