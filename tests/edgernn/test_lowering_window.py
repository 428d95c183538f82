"""How a float graph that needs its window becomes stages."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from edgernn.graph import Carried, Graph, Node, Output
from edgernn.lowering.window import lower_window, stages_of
from edgernn.rounding import Nearest
from edgernn.runtime import WindowRuntime
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.program import Scale
from edgernn.runtime.window import Source, Window
from tests.programs import random_ranges
from tests.windows import random_inputs, random_window_graph


def gru(name: str, read: str, *, reverse: bool = False, mask: str = "") -> Node:
    """Three hidden units over three features."""
    rng = np.random.default_rng(len(name))
    shapes = {"weight_ih": (9, 3), "weight_hh": (9, 3), "bias_ih": (9,), "bias_hh": (9,)}
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    carried = (Carried(f"s_{name}", name, np.zeros(3, np.float32)),)
    return Node("gru", (read,), (name,), arrays, carried, reverse=reverse, mask=mask)


def linear(name: str, read: str) -> Node:
    arrays = {"weight": np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)}
    return Node("linear", (read,), (name,), arrays)


def relu(name: str, read: str) -> Node:
    return Node("relu", (read,), (name,))


def add(name: str, *read: str) -> Node:
    return Node("add", read, (name,))


def pick(name: str, read: str, place: str = "last") -> Node:
    return Node(place, (read,), (name,))


def graph(*nodes: Node, out: str = "", inputs: tuple[str, ...] = ("x",)) -> Graph:
    names = [name for node in nodes for name in node.outputs]
    sizes = dict.fromkeys([*inputs, *names], 3) | ({"mask": 1} if "mask" in inputs else {})
    outputs = tuple(Output(f"y_{n}", n, last=False) for n in (out or names[-1]).split())
    return Graph(sizes, inputs, outputs, nodes)


def plan(*nodes: Node, out: str = "") -> list[tuple[str, list[str]]]:
    return [(d, [n.name for n in stage]) for d, stage in stages_of(graph(*nodes, out=out))]


def lowered(graph: Graph) -> Window:
    return lower_window(graph, random_ranges(graph), Nearest(), {"note": 1})


def test_a_layer_that_runs_backwards_is_one_stage() -> None:
    assert plan(gru("a", "x", reverse=True)) == [("reverse", ["a"])]


def test_both_directions_of_a_layer_are_two_stages_and_what_joins_them_is_in_the_second() -> None:
    nodes = gru("f", "x"), gru("r", "x", reverse=True), add("sum", "f", "r"), linear("y", "sum")
    assert plan(*nodes) == [("forward", ["f"]), ("reverse", ["r", "sum", "y"])]


def test_the_order_of_the_two_directions_does_not_matter() -> None:
    nodes = gru("r", "x", reverse=True), gru("f", "x"), add("sum", "f", "r")
    assert plan(*nodes) == [("forward", ["f"]), ("reverse", ["r", "sum"])]


def test_stacked_layers_share_stages_where_the_direction_allows() -> None:
    nodes = (
        gru("f0", "x"),
        gru("r0", "x", reverse=True),
        add("s0", "f0", "r0"),
        gru("f1", "s0"),
        gru("r1", "s0", reverse=True),
        add("s1", "f1", "r1"),
    )
    assert plan(*nodes) == [
        ("forward", ["f0"]),
        ("reverse", ["r0", "s0", "r1"]),
        ("forward", ["f1", "s1"]),
    ]


def test_functions_before_a_layer_that_runs_backwards_are_no_stage_of_their_own() -> None:
    nodes = linear("a", "x"), relu("b", "a"), gru("r", "b", reverse=True), relu("y", "r")
    assert plan(*nodes) == [("reverse", ["a", "b", "r", "y"])]


def test_layers_that_follow_each_other_forwards_are_one_stage() -> None:
    nodes = gru("a", "x"), gru("b", "a"), gru("r", "b", reverse=True), gru("c", "r")
    assert plan(*nodes) == [("forward", ["a", "b"]), ("reverse", ["r"]), ("forward", ["c"])]


def test_what_hangs_on_picked_steps_runs_once_at_the_end() -> None:
    nodes = (
        gru("f", "x"),
        gru("r", "x", reverse=True),
        pick("end", "f"),
        pick("begin", "r", "first"),
        add("both", "end", "begin"),
        linear("head", "both"),
        relu("each", "r"),
    )
    expected = [("forward", ["f"]), ("reverse", ["r", "each"]), ("once", ["both", "head"])]
    assert plan(*nodes, out="head each") == expected


def test_a_pick_that_is_returned_needs_no_stage() -> None:
    nodes = gru("r", "x", reverse=True), pick("p", "r", "first")
    assert plan(*nodes) == [("reverse", ["r"])]
    window = lowered(graph(*nodes))
    assert dict(window.outputs) == {"y_p": Source("r", "first")}


def test_picks_and_whole_sequences_do_not_mix() -> None:
    base = gru("r", "x", reverse=True), pick("p", "r")
    for wrong in (add("y", "p", "x"), gru("y", "p"), add("y", "r", "p")):
        with pytest.raises(UnsupportedError, match=r"y \((add|gru)\) reads one step of the window"):
            stages_of(graph(*base, wrong))


def test_a_mask_is_waited_for_and_read_by_each_stage() -> None:
    nodes = gru("f", "x", mask="mask"), gru("r", "f", reverse=True, mask="mask"), gru("g", "r")
    window = lowered(graph(*nodes, inputs=("x", "mask")))
    reads = [{s.value for s in stage.sources.values()} for stage in window.stages]
    assert reads == [{"x", "mask"}, {"f", "mask"}, {"r"}]
    assert window.inputs[1].scale == Scale(1, 0)


def test_stages_return_only_what_is_read_outside() -> None:
    nodes = (
        gru("f", "x"),
        relu("inner", "f"),
        linear("seen", "inner"),
        gru("r", "seen", reverse=True),
        relu("y", "r"),
    )
    window = lowered(graph(*nodes))
    assert [list(stage.program.outputs) for stage in window.stages] == [["seen"], ["y"]]
    assert [dict(stage.sources) for stage in window.stages] == [
        {"x": Source("x")},
        {"seen": Source("seen")},
    ]
    assert dict(window.metadata) == {"note": 1}
    assert dict(window.outputs) == {"y_y": Source("y")}


def test_what_runs_once_reads_picks_by_their_place() -> None:
    nodes = (
        gru("f", "x"),
        gru("r", "x", reverse=True),
        pick("a", "f"),
        pick("b", "f", "first"),
        pick("c", "r", "first"),
        add("ab", "a", "b"),
        add("y", "ab", "c"),
    )
    window = lowered(graph(*nodes))
    assert window.stages[-1].direction == "once"
    assert dict(window.stages[-1].sources) == {
        "a": Source("f", "last"),
        "b": Source("f", "first"),
        "c": Source("r", "first"),
    }
    assert window.once() == {"y"}


@pytest.mark.parametrize("seed", range(60))
def test_every_node_is_in_one_stage_after_what_it_reads(seed: int) -> None:
    g = random_window_graph(seed)
    stages = stages_of(g)
    picks = {node.name: node for node in g.nodes if node.kind in ("last", "first")}
    placed = [node for _, nodes in stages for node in nodes]
    assert len({node.name for node in placed}) == len(placed)
    assert {node.name for node in placed} == {n.name for n in g.nodes} - picks.keys()
    known = set(g.inputs)
    for position, (direction, nodes) in enumerate(stages):
        assert (direction == "once") <= (position == len(stages) - 1)
        for node in nodes:
            assert known.issuperset(picks[n].inputs[0] if n in picks else n for n in node.reads)
            known.update(node.outputs)
            if node.carried:
                assert direction == ("reverse" if node.reverse else "forward")
    for (a, _), (b, _) in itertools.pairwise(stages):
        assert a != b


def masked(seed: int) -> Window:
    """A random stack whose cells all have a mask, each output at every step."""
    g = random_window_graph(seed)
    nodes = tuple(dataclasses.replace(n, mask="mask") if n.carried else n for n in g.nodes)
    nodes = tuple(n for n in nodes if n.kind not in ("last", "first") and "once" not in n.name)
    outputs = tuple(
        Output(f"y{i}", n.name, last=False) for i, n in enumerate(nodes) if n.name != "both"
    )
    nodes = tuple(n for n in nodes if n.name != "both")
    return lowered(Graph({**g.sizes, "mask": 1}, ("x", "mask"), outputs, nodes))


@pytest.mark.parametrize("seed", range(20))
def test_padding_does_not_matter_whatever_it_holds(seed: int) -> None:
    """Before the window and after it, in both directions: steps whose mask is 0 change no state."""
    window = masked(seed)
    runtime = WindowRuntime(window)
    inputs = random_inputs(window, 10, seed)
    inputs["mask"] = np.where(inputs["mask"] == 0, np.int16(-3), inputs["mask"])
    right = runtime.values(*inputs.values())
    for number, (before, after) in enumerate([(0, 4), (3, 0), (2, 5)]):
        pads = [random_inputs(window, max(n, 1), 100 + number) for n in (before, after)]
        for pad, count in zip(pads, (before, after), strict=True):
            pad["x"] = pad["x"][:count]
            pad["mask"] = np.zeros((count, 1), np.int16)
        padded = [np.concatenate([pads[0][n], inputs[n], pads[1][n]]) for n in ("x", "mask")]
        found = runtime.values(*padded)
        for source in window.outputs.values():
            inner = found[source.value][:, before : before + 10]
            np.testing.assert_array_equal(inner, right[source.value], source.value)
    # The mask is at work at all: without it the same steps are other ones.
    unmasked = [padded[0], np.ones_like(padded[1])]
    other = runtime.values(*unmasked)
    assert any((other[s.value] != found[s.value]).any() for s in window.outputs.values())
