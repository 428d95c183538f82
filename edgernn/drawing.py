"""A program as a drawing: its layers, what flows between them, and the states they keep.

The layers are those that the program's metadata names; a program without is drawn operator by
operator. `text` draws for a terminal, `edgernn.svg` for a browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.window import Window

PICKS = ("last", "first")


@dataclass(frozen=True)
class Box:
    """A layer, an input or an output.

    kind: of the layer, "input" or "output". reads, writes: value names. stage: the number of the
    stage that it is in, -1 for inputs and outputs. states: name and size of each.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    stage: int
    states: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Drawing:
    """boxes: in execution order, inputs first, outputs last. stages: what each is called.

    values: value name -> size and scale, where they are known.
    """

    boxes: tuple[Box, ...]
    stages: tuple[str, ...]
    values: Mapping[str, Tensor]

    def shape(self, value: str) -> str:
        """Size and scale of a value, as text; empty if it has none in the integer program."""
        tensor = self.values.get(value)
        return "" if tensor is None else f"{tensor.size} @ {tensor.scale}"


def drawing_of(program: Program | Window) -> Drawing:
    """What there is to draw of a program of either kind."""
    if isinstance(program, Window):
        return _window(program)
    values = dict(program.tensors)
    sizes = {s.name: len(s.initial) for s in program.states}
    boxes = [_end("input", name, (), (name,)) for name in program.inputs]
    network = _network(program.metadata)
    if network is None:
        boxes += [Box(o.name, o.kind, o.inputs, o.outputs, 0) for o in program.operators]
    else:
        boxes += [_layer(entry, 0, sizes) for entry in network]
    boxes += [_end("output", n, (_value(t, boxes),), ()) for n, t in program.outputs.items()]
    return Drawing(tuple(boxes), ("step",), values)


def _window(window: Window) -> Drawing:
    values = window.tensors()
    sizes: dict[str, int] = {}
    for stage in window.stages:
        sizes |= {s.name: len(s.initial) for s in stage.program.states}
        values = {**stage.program.tensors, **values}
    boxes = [_end("input", t.name, (), (t.name,)) for t in window.inputs]
    network = _network(window.metadata)
    if network is None:
        for number, stage in enumerate(window.stages):
            reads = tuple(source.value for source in stage.sources.values())
            writes = tuple(stage.program.outputs)
            boxes.append(Box(f"stage {number + 1}", "stage", reads, writes, number))
    else:
        layers = [_layer(entry, _stage_of(entry, window), sizes) for entry in network]
        boxes += sorted(layers, key=lambda box: box.stage)
    written_by = {name for box in boxes for name in box.writes}
    for name, source in window.outputs.items():
        picks = [b for b in boxes if b.kind == source.at and source.value in b.reads]
        value = picks[0].writes[0] if picks and source.at in PICKS else source.value
        boxes.append(_end("output", name, (value if value in written_by else source.value,), ()))
    titles = tuple(f"stage {i + 1}, {stage.direction}" for i, stage in enumerate(window.stages))
    return Drawing(tuple(boxes), titles, values)


def _stage_of(entry: Mapping[str, Any], window: Window) -> int:
    """The stage that computes a layer's value; of a picked step, the one that reads it."""
    written = str(entry["writes"][0])
    for number, stage in enumerate(window.stages):
        if written in stage.program.tensors:
            picked = written in stage.sources and entry["kind"] in PICKS
            if picked or written not in stage.sources:
                return number
    return len(window.stages) - 1


def _end(kind: str, name: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Box:
    return Box(name, kind, reads, writes, -1)


def _value(tensor: str, boxes: Sequence[Box]) -> str:
    """The layer's value that a tensor holds: its own name, or what it was made of."""
    values = {name for box in boxes for name in box.writes}
    if tensor in values:
        return tensor
    return next((v for v in values if tensor.startswith(f"{v}_")), tensor)


def _layer(entry: Mapping[str, Any], stage: int, sizes: Mapping[str, int]) -> Box:
    writes = tuple(map(str, entry["writes"]))
    kind = str(entry["kind"]) + (", backwards" if entry.get("reverse") else "")
    names = map(str, entry.get("states", ()))
    states = tuple((name, sizes[name]) for name in names if name in sizes)
    return Box(writes[0], kind, tuple(map(str, entry["reads"])), writes, stage, states)


def _network(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The layers in the metadata; None if they are not there, or are no list of layers."""
    network = metadata.get("network")
    if not isinstance(network, list) or not network:
        return None
    for entry in network:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("kind"), str):
            return None
        for part in ("reads", "writes", "states"):
            names = entry.get(part, [])
            if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
                return None
        if not entry.get("writes"):
            return None
    return network


def text(drawing: Drawing) -> str:
    """One line a layer: what it reads -> what it is -> what it writes, and its states."""
    lines = []
    stage = -1
    width = max(len(", ".join(box.reads)) for box in drawing.boxes)
    kinds = max(len(box.kind) for box in drawing.boxes)
    for box in drawing.boxes:
        if box.stage != stage and box.stage >= 0 and len(drawing.stages) > 1:
            lines.append(drawing.stages[box.stage])
        stage = box.stage
        named = box.writes if box.kind != "output" else (box.name,)
        shown = [
            f"{name} ({drawing.shape(name if box.kind != 'output' else box.reads[0])})"
            if drawing.shape(name if box.kind != "output" else box.reads[0])
            else name
            for name in named
        ]
        line = f"  {', '.join(box.reads):>{width}} -> {box.kind:<{kinds}} -> {', '.join(shown)}"
        if box.states:
            line += "; state " + ", ".join(f"{name} ({size})" for name, size in box.states)
        lines.append(line)
    return "\n".join(lines)
