"""What is advised fits, and the next size does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgernn.budget import Budget, Subject, advise, check
from edgernn.budget.advice import Layer
from edgernn.budget.cost import cost_of, target_of
from edgernn.budget.layouts import Layouts
from edgernn.budget.resize import lowered, resized
from edgernn.budget.subject import as_model
from edgernn.budget.swap import ALTERNATIVES, swapped
from edgernn.budget.trial import largest
from edgernn.graph import Carried, Graph, Node, Output
from edgernn.runtime.state import stored_size
from tests.edgernn.budget.subjects import core, quantized, stack, subject, window_graph

GRAPHS = {
    "one layer": stack(["gru"], [40]),
    "two layers": stack(["lstm", "gru"], [24, 12]),
    "window": window_graph(4),
}


def verdict_at(model: Subject, budget: Budget, sizes: dict[str, int]) -> bool:
    """Does the model fit with layers of other sizes? Built anew, apart from the search."""
    assert model.float_model is not None
    layouts = Layouts(model.float_model.graph)
    axes = {", ".join(axis.layers): i for i, axis in layouts.axes().items()}
    graph = resized(layouts, {axes[name]: size for name, size in sizes.items()})
    program = lowered(graph, model.amplitudes)
    return check(Subject("again", program, steps=model.steps), budget).fits


@pytest.mark.parametrize("part", ["flash", "ram", "instructions", "time"])
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("name_of_core", ["cortex-m0plus", "cortex-m55"])
def test_the_advised_size_fits_and_the_next_does_not(
    name: str, part: str, name_of_core: str
) -> None:
    model = subject(GRAPHS[name])
    open_budget = Budget(core(name_of_core), clock_hz=1e6)
    cost = check(model, open_budget)
    value = next(line.value for line in cost.lines if line.name == part)
    limit = 0.8 * value
    budget = replace(
        open_budget,
        **{"seconds" if part == "time" else part: limit if part == "time" else int(limit)},
    )  # type: ignore[arg-type]
    assert not check(model, budget).fits
    advice = advise(model, budget)
    sized = [layer for layer in advice.layers if layer.what == "hidden units"]
    assert sized
    for layer in sized:
        assert layer.fits is not None
        assert layer.fits < layer.size
        if layer.fits:
            assert verdict_at(model, budget, {layer.name: layer.fits})
        assert not verdict_at(model, budget, {layer.name: layer.fits + 1})
    if advice.together:
        assert verdict_at(model, budget, advice.together)
    else:
        assert advice.blocked


def test_what_still_fits_is_found_upwards() -> None:
    model = subject(stack(["gru"], [8]))
    cost = check(model, Budget(core())).cost
    budget = Budget(core(), flash=2 * cost.flash)
    (layer,) = advise(model, budget).layers
    assert layer.fits is not None
    assert layer.fits > 8
    assert not layer.reaches_limit
    assert verdict_at(model, budget, {layer.name: layer.fits})
    assert not verdict_at(model, budget, {layer.name: layer.fits + 1})


def test_savings_for_each_unit_are_those_of_eight() -> None:
    model = subject(stack(["gru", "lstm"], [24, 16]))
    budget = Budget(core(), flash=10)
    layers: dict[str, Layer] = {layer.name: layer for layer in advise(model, budget).layers}
    assert model.float_model is not None
    layouts = Layouts(model.float_model.graph)
    own = check(model, budget).cost
    for i, axis in layouts.axes().items():
        program = lowered(resized(layouts, {i: axis.size - 8}), model.amplitudes)
        less = cost_of(as_model(program), target_of(core()))
        (name,) = axis.layers
        assert layers[name].flash == (own.flash - less.flash) / 8
        assert layers[name].ram == (own.ram - less.ram) / 8
        assert layers[name].instructions == (own.instructions - less.instructions) / 8


def test_it_says_what_no_size_helps() -> None:
    model = subject(stack(["gru"], [16]))
    advice = advise(model, Budget(core(), flash=700, ram=40))
    assert not advice.together
    flash, ram = advice.blocked
    assert "no hidden size fits" in flash
    assert "of code" in flash
    assert "bytes of RAM" in ram
    assert "of stack" in ram


def test_other_cells_are_really_as_expensive() -> None:
    model = subject(from_zero(stack(["lstm", "lstm"], [12, 10])))
    own = check(model, Budget(core())).cost
    advice = advise(model, Budget(core(), flash=own.flash - 1))
    found = {swap.name: swap for swap in advice.swaps}
    assert list(found) == [a.name for a in ALTERNATIVES if a.name != "LSTM"]
    # The same network with GRUs from the start, quantized as any other.
    like = check(subject(from_zero(stack(["gru", "gru"], [12, 10]))), Budget(core())).cost
    assert found["GRU"].flash == like.flash
    assert found["GRU"].ram == like.ram
    assert found["GRU"].instructions == like.instructions
    assert found["GRU"].fits
    assert found["GRU"].flash < own.flash


def from_zero(graph: Graph) -> Graph:
    """The graph with states that start at zero, as another cell's do."""
    nodes = tuple(
        replace(n, carried=tuple(replace(s, initial=0 * s.initial) for s in n.carried))
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)


def test_an_lstm_whose_c_is_read_is_not_replaced() -> None:
    graph = stack(["lstm"], [6])
    outputs = (*graph.outputs, Output("c", "l0_c", last=True))
    whole = Graph(graph.sizes, graph.inputs, outputs, graph.nodes)
    assert swapped(whole, ALTERNATIVES[1]) is None
    assert swapped(graph, ALTERNATIVES[1]) is not None
    assert swapped(stack(["gru"], [6]), ALTERNATIVES[1]) is None


def test_windows_are_shortened_to_what_fits() -> None:
    model = subject(window_graph(4))
    whole = check(Subject("w", model.program, steps=50), Budget(core())).cost
    budget = Budget(core(), ram=whole.ram - 1, flash=1)
    advice = advise(replace_steps(model, 50), budget)
    assert advice.window == 49
    shorter = check(Subject("w", model.program, steps=49), Budget(core())).cost
    assert advice.window_step_bytes == whole.ram - shorter.ram
    none = advise(replace_steps(model, 50), Budget(core(), ram=1))
    assert none.window == 0


def replace_steps(model: Subject, steps: int) -> Subject:
    return Subject(model.name, model.program, model.float_model, "", steps, model.sample)


def test_states_of_int8() -> None:
    model = subject(stack(["lstm", "gru"], [7, 5]))
    advice = advise(model, Budget(core()))
    assert advice.int8_state_bytes == sum(
        2 * stored_size(n) - 4 * ((n + 3) // 4) for n in (7, 7, 5)
    )


def test_without_the_float_network_it_says_so() -> None:
    program = quantized(stack(["gru"], [6]))
    advice = advise(Subject("p", program, None, "it is not there"), Budget(core(), flash=1))
    assert not advice.layers
    assert not advice.swaps
    assert advice.notes == ["sizes and cells cannot be tried: it is not there"]


def test_a_layer_that_cannot_change_is_named() -> None:
    graph = stack(["gru"], [5])
    nodes = (
        graph.nodes[0],
        Node("add", ("l0_h", "x"), ("sum",)),
        Node("linear", ("sum",), ("head",), graph.nodes[1].arrays),
    )
    whole = Graph({**graph.sizes, "sum": 5}, graph.inputs, graph.outputs, nodes)
    advice = advise(subject(whole), Budget(core(), flash=1))
    assert not advice.layers
    assert advice.notes == ["l0_h keeps its 5 hidden units: the model reads x"]


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_is_found_although_costs_are_uneven(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = np.cumsum(rng.integers(0, 9, 200)) + rng.integers(0, 5, 200)
    limit = int(costs[int(rng.integers(5, 190))])
    found = largest(lambda n: bool(costs[n] <= limit), 1, int(rng.integers(1, 150)), 199)
    assert costs[found] <= limit
    assert found == 199 or costs[found + 1] > limit
    assert largest(lambda n: False, 1, 9, 99) == 0
    assert largest(lambda n: True, 1, 9, 99) == 99


def test_a_dip_of_the_costs_is_followed_to_its_end() -> None:
    fitting = {*range(1, 10), *range(13, 20)}
    assert largest(lambda n: n in fitting, 1, 22, 99) == 19


def test_a_projection_shrinks_with_what_it_projects() -> None:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih": (64, 5), "weight_hh": (64, 8), "weight_hr": (8, 16)}
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32) / 4
        for name, shape in {**shapes, "bias_ih": (64,), "bias_hh": (64,)}.items()
    }
    order = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    states = (
        Carried("sh", "l0_h", np.zeros(8, np.float32)),
        Carried("sc", "l0_c", np.zeros(16, np.float32)),
    )
    node = Node("lstm_projection", ("x",), ("l0_h", "l0_c"), {n: arrays[n] for n in order}, states)
    _, head = stack(["gru"], [8]).nodes
    nodes = (node, replace(head, inputs=("l0_h",)))
    graph = Graph(
        {"x": 5, "l0_h": 8, "l0_c": 16, "head": 4}, ("x",), (Output("y", "head", True),), nodes
    )
    model = subject(graph)
    own = check(model, Budget(core())).cost
    budget = Budget(core(), flash=int(0.7 * own.flash))
    advice = advise(model, budget)
    small, large = advice.together["l0_h (projected units)"], advice.together["l0_h"]
    assert 1 <= small < large < 16
    blocked = advise(model, Budget(core(), flash=500)).blocked
    assert blocked[0].startswith("no hidden size fits: at l0_h 2, l0_h (projected units) 1 ")
