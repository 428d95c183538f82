"""Slices of concatenations read the part itself, such as one direction of a bidirectional layer.

So what is not read vanishes: a model that takes the forward half alone streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgernn.graph import Node
from edgernn.importer.registry import Call

_PICKS = ("last", "first")


def without_joints(
    nodes: list[Node], sizes: Mapping[str, int], calls: dict[str, Call]
) -> tuple[list[Node], dict[str, str]]:
    """The nodes, none of which slices a concatenation if one part has it all; and the slices that
    are a whole part -> that part. sizes: features of each value. calls: where a picked step is
    taken; what is picked instead is entered."""
    same: dict[str, str] = {}
    made: dict[str, Node] = {}
    kept = []
    for node in nodes:
        inputs = tuple(same.get(name, name) for name in node.inputs)
        node = replace(node, inputs=inputs, mask=same.get(node.mask, node.mask))
        if node.kind == "slice":
            node = _of_part(node, sizes, made, calls)
            if node.kind == "slice" and sizes[node.name] == sizes[node.inputs[0]]:
                same[node.name] = node.inputs[0]
                continue
        made.update(dict.fromkeys(node.outputs, node))
        kept.append(node)
    return kept, same


def _of_part(
    node: Node, sizes: Mapping[str, int], made: Mapping[str, Node], calls: dict[str, Call]
) -> Node:
    """A slice of a part, or a pick of a whole one, in place of a slice of the concatenation."""
    while (source := made.get(node.inputs[0])) is not None:
        picked = source.kind in _PICKS
        joint = made.get(source.inputs[0]) if picked else source
        if joint is None or joint.kind != "concat":
            break
        begin = node.begin
        part = joint.inputs[0]
        for part in joint.inputs:
            if begin < sizes[part]:
                break
            begin -= sizes[part]
        whole = (begin, sizes[node.name]) == (0, sizes[part])
        if begin + sizes[node.name] > sizes[part] or (picked and not whole):
            break
        if picked:
            if source.name in calls:
                calls[node.name] = calls[source.name]
            return replace(node, kind=source.kind, inputs=(part,), begin=0)
        node = replace(node, inputs=(part,), begin=begin)
    return node
