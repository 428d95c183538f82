"""A network in other sizes is priced as one that was really built at that size."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgernn
from benchmarks.family_tasks import calibration_of, task_of
from benchmarks.models import ROWS
from edgernn import nn as enn
from edgernn.budget.cost import Cost, cost_of
from edgernn.budget.layouts import Layouts
from edgernn.budget.resize import lowered, resized
from edgernn.budget.subject import as_model
from edgernn.cells import CELLS
from edgernn.footprint import load_targets
from edgernn.graph import Graph, Node, Output
from edgernn.runtime import Program, Window
from tests.edgernn.budget.subjects import CORES, quantized, stack
from tests.edgernn.one_cell import INPUTS, SHAPES, F, H, one_cell

SIZES = (12, 13)


def costs(program: Program | Window) -> list[Cost]:
    return [cost_of(as_model(program), load_targets()[name], 7) for name in CORES]


def change(graph: Graph, **sizes: int) -> Graph:
    """The graph with every axis of a kind at another size."""
    layouts = Layouts(graph)
    return resized(
        layouts, {i: sizes[a.what] for i, a in layouts.axes().items() if a.what in sizes}
    )


def built(name: str, hidden: int) -> Any:
    row = ROWS[name]
    task = task_of(row.reads)
    torch.manual_seed(hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = row.build(replace(task.sizes, hidden=hidden)).eval()
        for parameter, values in model.named_parameters():
            if "decay" in parameter:
                # How large they are decides on the operators that GRU-D needs.
                nn.init.constant_(values, 0.1)
        data = calibration_of(task)
        few = tuple(v[:20] for v in data) if isinstance(data, tuple) else data[:20]
        return edgernn.quantize(model, tuple(v[:3] for v in task.train), calibration=few)


@pytest.mark.parametrize(
    "name",
    [
        "GRU, reset after", "LSTM, projection", "Elman, ReLU", "FastGRNN", "LayerNorm, BatchNorm",
        "embedding", "convolution in front", "fusion, gated", "variable length, both directions",
        "missing values, GRU-D",
    ],
)  # fmt: skip
def test_one_unit_more_costs_what_a_model_of_that_size_costs(name: str) -> None:
    small, large = (built(name, size) for size in SIZES)
    layouts, wanted = Layouts(small.graph), Layouts(large.graph).axes()
    assert layouts.axes().keys() == wanted.keys()
    sizes = {i: axis.size for i, axis in wanted.items()}
    graph = resized(layouts, sizes)
    assert dict(graph.sizes) == dict(large.graph.sizes)
    for node, like in zip(graph.nodes, large.graph.nodes, strict=True):
        found = {n: a.shape for n, a in node.arrays.items()}
        assert found == {n: a.shape for n, a in like.arrays.items()}
    again = lowered(small.graph, small.float_model.amplitudes)
    assert costs(again) == costs(small), "the model itself is priced anew"
    assert costs(lowered(graph, small.float_model.amplitudes)) == costs(large)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_shapes_of_a_cell_say_what_its_arrays_are(kind: str) -> None:
    graph, cell = one_cell(kind, False, False, True), CELLS[kind]
    node, (shapes, outputs, _) = graph.nodes[0], SHAPES[kind]
    sizes = cell.sizes_of(node, [graph.sizes[name] for name in node.inputs])
    assert cell.shapes_at(sizes) == dict(shapes)
    assert list(cell.shapes_at(sizes)) == list(cell.arrays)
    layouts = Layouts(graph)
    for value, size in zip(node.outputs, outputs, strict=True):
        assert layouts.total(layouts.layout(value), {}) == size
    if shapes:
        first, array = next(iter(node.arrays.items()))
        wrong = replace(node, arrays={**node.arrays, first: np.ones((7, *array.shape[1:]))})
        with pytest.raises(ValueError, match="a size is"):
            cell.sizes_of(wrong, [graph.sizes[name] for name in node.inputs])


@pytest.mark.parametrize("kind", sorted(set(SHAPES) - {"hopfield"}))
def test_every_cell_runs_and_lowers_in_other_sizes(kind: str) -> None:
    """Behind a Linear, so that both of its sizes can change."""
    whole = one_cell(kind, True, False, True)
    width = F
    cell = replace(whole.nodes[0], carried=tuple(
        replace(state, initial=0 * state.initial) for state in whole.nodes[0].carried
    ))  # fmt: skip
    rng = np.random.default_rng(0)
    inputs = INPUTS.get(kind, ("x",))
    front = [
        Node("linear", (f"in_{n}",), (n,), {
            "weight": rng.standard_normal((width, 3)).astype(np.float32),
            "bias": np.zeros(width, np.float32),
        }) for n in inputs
    ]  # fmt: skip
    head = Node("linear", (cell.name,), ("logits",), {
        "weight": rng.standard_normal((2, whole.sizes[cell.name])).astype(np.float32),
        "bias": np.zeros(2, np.float32),
    })  # fmt: skip
    sizes = {f"in_{n}": 3 for n in inputs} | {n: whole.sizes[n] for n in (*inputs, *cell.outputs)}
    graph = Graph(
        {**sizes, "mask": 1, "logits": 2}, (*(f"in_{n}" for n in inputs), "mask"),
        (Output("y", "logits", last=False),), (*front, cell, head),
    )  # fmt: skip
    layouts = Layouts(graph)
    axes = layouts.axes()
    assert any(axis.size == width and axis.layers for axis in axes.values())
    assert not CELLS[kind].shapes or any(cell.name in axis.layers for axis in axes.values())
    for change in (2, -1):
        changed = {i: axis.size + change for i, axis in axes.items()}
        program = lowered(resized(layouts, changed), {})
        assert isinstance(program, Program)
        assert program.tensors[cell.name].size != whole.sizes[cell.name]


def test_weights_keep_their_magnitudes_and_their_gates() -> None:
    graph = stack(["lstm"], [4])
    wider, cut = change(graph, hidden=6).nodes[0], change(graph, hidden=3).nodes[0]
    a = graph.nodes[0].arrays
    np.testing.assert_array_equal(wider.arrays["bias_ih"][6:12], np.tile(a["bias_ih"][4:8], 2)[:6])
    np.testing.assert_array_equal(cut.arrays["weight_hh"][3:6], a["weight_hh"][4:7, :3])
    np.testing.assert_array_equal(cut.arrays["weight_ih"][9:], a["weight_ih"][12:15])
    initial = graph.nodes[0].carried[1].initial
    np.testing.assert_array_equal(wider.carried[1].initial, np.tile(initial, 2)[:6])


def head_on(value: str, size: int, features: int = 2) -> Node:
    arrays = {
        "weight": np.ones((features, size), np.float32),
        "bias": np.ones(features, np.float32),
    }
    return Node("linear", (value,), ("y",), arrays)


def with_nodes(graph: Graph, *nodes: Node, **sizes: int) -> Graph:
    """A stack without its head, and other nodes."""
    recurrent = [node for node in graph.nodes if node.carried]
    sizes = {
        name: graph.sizes[name] for name in ("x", *(n for r in recurrent for n in r.outputs))
    } | sizes
    return Graph(sizes, ("x",), (Output("y", "y", False),), (*recurrent, *nodes))


def test_a_residual_sum_ties_layers() -> None:
    graph = with_nodes(
        stack(["gru", "gru"], [6, 6]), Node("add", ("l0_h", "l1_h"), ("sum",)),
        head_on("sum", 6), sum=6, y=2,
    )  # fmt: skip
    axes = list(Layouts(graph).axes().values())
    assert [(a.what, a.layers, a.size) for a in axes] == [("hidden", ["l0_h", "l1_h"], 6)]
    assert dict(change(graph, hidden=9).sizes) == {"x": 5, "l0_h": 9, "l1_h": 9, "sum": 9, "y": 2}


def test_both_directions_of_a_layer_have_one_size() -> None:
    graph = stack(["gru", "gru"], [6, 6])
    first, second, _ = graph.nodes
    arrays = {**second.arrays, "weight_ih": first.arrays["weight_ih"]}
    back = replace(second, inputs=("x",), arrays=arrays, reverse=True)
    both = Node("concat", ("l0_h", "l1_h"), ("both",))
    whole = with_nodes(replace(graph, nodes=(first, back)), both, head_on("both", 12), both=12, y=2)
    (axis,) = Layouts(whole).axes().values()
    assert (axis.layers, axis.size) == (["l0_h", "l1_h"], 6)
    # Of the same direction they are two layers side by side.
    apart = replace(whole, nodes=(first, replace(back, reverse=False), *whole.nodes[2:]))
    assert len(Layouts(apart).axes()) == 2


def test_a_residual_sum_with_the_input_fixes_the_layer() -> None:
    graph = with_nodes(
        stack(["gru"], [5]), Node("add", ("l0_h", "x"), ("sum",)), head_on("sum", 5), sum=5, y=2
    )
    layouts = Layouts(graph)
    assert not layouts.axes()
    (axis,) = (a for a in layouts.fixed().values() if a.what == "hidden")
    assert axis.fixed == "the model reads x"


def test_a_slice_between_segments_moves_and_one_through_them_fixes() -> None:
    halves = [
        Node("concat", ("l0_h", "l1_h"), ("both",)),
        Node("slice", ("both",), ("part",), begin=6),
    ]
    graph = with_nodes(
        stack(["gru", "lstm"], [6, 4]), *halves, head_on("part", 4), both=10, part=4, y=2
    )
    layouts = Layouts(graph)
    first, second = layouts.axes()
    after = resized(layouts, {first: 9, second: 3})
    assert (after.sizes["both"], after.sizes["part"], after.nodes[3].begin) == (12, 3, 9)
    through = with_nodes(
        stack(["gru", "lstm"], [6, 4]), halves[0], replace(halves[1], begin=5),
        head_on("part", 4), both=10, part=4, y=2,
    )  # fmt: skip
    assert not Layouts(through).axes()
    reasons = {a.fixed for a in Layouts(through).fixed().values() if a.what == "hidden"}
    assert reasons == {"part takes a fixed slice of it"}


def test_a_convolution_in_groups_keeps_its_size_and_a_depthwise_one_follows() -> None:
    def convolved(groups: int, columns: int) -> Graph:
        rng = np.random.default_rng(0)
        arrays = {
            "weight": rng.standard_normal((6, columns, 2)).astype(np.float32),
            "bias": np.zeros(6, np.float32),
        }
        base = one_cell("conv1d", False, False, True).nodes[0]
        state = replace(base.carried[0], initial=np.zeros(6, np.float32))
        node = Node("conv1d", ("l0_h",), base.outputs, arrays, (state,),
                    numbers={"dilation": 1, "groups": groups})  # fmt: skip
        return with_nodes(stack(["gru"], [6]), node, head_on("y_conv", 6), y=2, buffer=6, y_conv=6)

    for groups, columns, free in ((2, 3, False), (6, 1, True)):
        graph = convolved(groups, columns)
        conv = replace(graph.nodes[1], outputs=("y_conv", "buffer"))
        graph = replace(graph, nodes=(graph.nodes[0], conv, graph.nodes[2]))
        layouts = Layouts(graph)
        assert bool(layouts.axes()) == free
        if free:
            after = change(graph, hidden=9)
            assert after.nodes[1].numbers["groups"] == 9
            assert after.nodes[1].arrays["weight"].shape == (9, 1, 2)
            assert isinstance(lowered(after, {}), Program)


def test_a_returned_state_may_change_and_a_returned_linear_may_not() -> None:
    returned = Layouts(stack(["gru"], [6], head=0))
    (axis,) = returned.axes().values()
    assert axis.returned
    assert axis.what == "hidden"
    headed = Layouts(stack(["gru"], [6], head=3))
    assert [a.what for a in headed.axes().values()] == ["hidden"]


def test_lowering_again_gives_the_program_its_scales() -> None:
    graph = stack(["lstm", "rnn_relu"], [6, 5])
    program = quantized(graph)
    assert program.float_model is not None
    again = lowered(graph, program.float_model.amplitudes)
    assert isinstance(again, Program)
    assert isinstance(program, Program)
    assert {n: t.scale for n, t in again.tensors.items()} == {
        n: t.scale for n, t in program.tensors.items()
    }
    assert H != F


def test_torch_layers_have_the_shapes_of_their_cells() -> None:
    layer = enn.FastGRNN(5, 6, w_rank=2)
    assert layer.sizes == {"hidden": 6, "w_rank": 2}
    jordan = enn.Jordan(5, 6, 4)
    assert jordan.state_sizes == (4,)
    assert isinstance(jordan, nn.Module)
    assert enn.GRUD(5, 6).state_sizes == (6, 5)
