"""The table of operators: what is taken, by which rule, and what is refused, with the way out.

A rule's docstring is one line of the support table; so is a refusal's reason and way out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgernn.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    from torch.fx import Node as FxNode

    from edgernn.importer.trace import Tracer

SUPPORTED: Final = (
    "recurrent layers, convolutions over the past, Embedding, Linear, norms, activations, "
    "arithmetic between features, and their concatenation and slices"
)
_FRAME: Final = re.compile(r'File "([^"\n]+)", line (\d+)')


@dataclass(frozen=True)
class Call:
    """An operator's call: the node, the operator's name, and its arguments by name."""

    node: FxNode
    operator: str
    args: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def refuse(self, reason: str, way_out: str, layer: str = "") -> UnsupportedError:
        """The one sentence: node, operator, layer, source line, reason, support, way out."""
        return UnsupportedError(sentence(self.node, self.operator, reason, way_out, layer))


Rule = Callable[["Tracer", Call], Any]
RULES: Final[dict[str, Rule]] = {}


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operators, by name (`relu`) or with the overload (`gru.input`)."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = function
        return function

    return register


@dataclass(frozen=True)
class Refusal:
    """What is refused: a layer's name, why, and the nearest way out."""

    layer: str
    reason: str
    way_out: str


def find(table: Mapping[str, Any], operator: str) -> Any:
    """The entry of `aten.name.overload`, with the overload or without; None if there is none."""
    _, _, full = operator.partition(".")
    return table.get(full) or table.get(full.partition(".")[0])


def sentence(node: FxNode, operator: str, reason: str, way_out: str, layer: str = "") -> str:
    """One sentence that names a node, its operator, its source line, the reason, the way out."""
    layer = layer or layer_of(node)
    what = f"{operator}, {layer}" if layer else operator
    place = source_line(node)
    return (
        f"{place + ': ' if place else ''}node {node.name} ({what}) {reason}; edgernn takes "
        f"{SUPPORTED}; {way_out}"
    )


def layer_of(node: FxNode) -> str:
    """nn.X if the node comes from a layer of torch.nn, else nothing."""
    modules = list(node.meta.get("nn_module_stack", {}).values())
    kind = str(modules[-1][1]) if modules else ""
    name = kind.rpartition(".")[2]
    return f"nn.{name}" if kind.startswith("torch.nn.modules.") else ""


def source_line(node: FxNode) -> str:
    """file:line of the last frame that is not torch's own; empty if it is not known."""
    for path, line in reversed(_FRAME.findall(node.meta.get("stack_trace") or "")):
        if not re.search(r"(site|dist)-packages[/\\]torch[/\\]", path):
            here = os.getcwd() + os.sep
            shown = path[len(here) :] if path.startswith(here) else str(Path(path))
            return f"{shown}:{line}"
    return ""
