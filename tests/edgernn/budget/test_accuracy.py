"""The accuracy drop is that of predictions counted by hand, and what bounds it bounds it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgernn.budget import Subject, accuracy_drop
from edgernn.float_engine import run_float
from edgernn.graph import Graph, Node, Output
from edgernn.quantization import Quantized
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Matrix, Operator
from tests.edgernn.budget.subjects import noise, quantized, stack, subject, window_graph


def spoiled(graph: Graph) -> Subject:
    """A subject whose program is far from its float network: half of the head's weights gone."""
    whole = quantized(graph)
    assert isinstance(whole, Quantized)
    operators = []
    for op in whole.operators:
        if op.name == "head" and op.matrix is not None:
            weight = op.matrix.weight.copy()
            weight[:, ::2] = 0
            m = op.matrix
            op = Operator(
                op.kind, op.inputs, op.outputs, Matrix(weight, m.bias, m.multiplier, m.shift)
            )
        operators.append(op)
    program = replace(whole, operators=tuple(operators))
    return Subject("spoiled", program, whole.float_model, "", 1, whole.sample)


def both(model: Subject, sequences: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The last output of float and int8, sequence by sequence."""
    assert model.float_model is not None
    floats, ints = [], []
    for s in sequences:
        floats.append(run_float(model.float_model.graph, {"x": s["x"][None]})[0]["y"][0, -1])
        runtime = StepRuntime(model.program)  # type: ignore[arg-type]
        for x in s["x"]:
            y = runtime.step(x)
        ints.append(y)
    return np.array(floats), np.array(ints)


@pytest.mark.parametrize("seed", range(3))
def test_a_drop_with_labels_and_its_bound_without(seed: int) -> None:
    graph = stack(["gru"], [6], seed=seed)
    model = spoiled(graph)
    sequences = noise(graph, 80, 7, seed) + noise(graph, 20, 12, seed + 1)
    floats, ints = both(model, sequences)
    predicted = floats.argmax(1), ints.argmax(1)
    differ = predicted[0] != predicted[1]
    assert 0 < differ.sum() < 100
    bound = accuracy_drop(model, sequences)
    assert (bound.kind, bound.count) == ("predictions", 100)
    assert bound.points == pytest.approx(100 * differ.mean())
    for labels in (predicted[0], np.random.default_rng(seed).integers(0, 4, 100), predicted[1]):
        drop = accuracy_drop(model, sequences, labels)
        right = [np.mean(p == labels) for p in predicted]
        assert drop.kind == "accuracy"
        assert drop.count == 100
        assert drop.float_value == pytest.approx(100 * right[0])
        assert drop.int_value == pytest.approx(100 * right[1])
        assert drop.points == pytest.approx(100 * (right[0] - right[1]))
        assert drop.points <= bound.points
        b, c = (np.sum((p == labels) & (q != labels)) for p, q in (predicted, predicted[::-1]))
        variance = (b + c - (b - c) ** 2 / 100) / 100
        assert drop.margin == pytest.approx(100 * 1.959964 * math.sqrt(variance / 100))
    counted = np.where(np.arange(100) < 30, predicted[0], -100)
    assert accuracy_drop(model, sequences, counted).count == 30


def test_the_bound_of_no_difference_is_not_zero() -> None:
    graph = stack(["gru"], [6])
    model = subject(graph)
    drop = accuracy_drop(model, [model.sample[0]] * 40)
    assert drop.points == 0
    z2 = 1.959964**2
    assert drop.margin == pytest.approx(100 * z2 / (40 + z2))
    assert "0 of 40 predictions" in drop.sentence()
    assert "folder's sample" in drop.sentence()


def test_outputs_at_every_step_count_each() -> None:
    graph = stack(["lstm"], [6])
    every = replace(graph, outputs=(Output("y", "head", last=False),))
    model = subject(every)
    sequences = noise(every, 4, 11)
    assert accuracy_drop(model, sequences).count == 44
    labels = np.zeros((4, 11), np.int64)
    assert accuracy_drop(model, sequences, labels).count == 44
    with pytest.raises(InputError, match="label 0 holds 10 values"):
        accuracy_drop(model, sequences, labels[:, :10])


def test_one_number_is_compared_by_its_error() -> None:
    graph = stack(["gru"], [6], head=1)
    model = subject(graph)
    sequences = noise(graph, 30, 8)
    floats, ints = both(model, sequences)
    plain = accuracy_drop(model, sequences)
    assert plain.kind == "difference"
    assert plain.count == 30
    rms = np.sqrt(np.mean((floats - ints) ** 2)) / floats.std()
    assert plain.points == pytest.approx(100 * rms, rel=1e-3)
    wanted = floats[:, 0].astype(np.float64) + np.random.default_rng(0).standard_normal(30)
    drop = accuracy_drop(model, sequences, wanted)
    errors = [
        100 * np.sqrt(np.mean((v[:, 0] - wanted) ** 2)) / wanted.std() for v in (floats, ints)
    ]
    assert drop.kind == "error"
    assert drop.points == pytest.approx(errors[1] - errors[0], abs=1e-3)
    with pytest.raises(InputError, match="all the same"):
        accuracy_drop(model, sequences, np.ones(30))


def test_sigmoids_are_decisions_of_their_own() -> None:
    graph = stack(["gru"], [6], head=3)
    left = replace(graph, outputs=(Output("y", "head", last=True, head="sigmoid"),))
    model = subject(left)
    sequences = noise(left, 10)
    assert accuracy_drop(model, sequences).count == 30
    floats, _ = both(model, sequences)
    drop = accuracy_drop(model, sequences, (floats > 0).astype(np.int64))
    assert drop.float_value == 100
    assert drop.count == 30
    nodes = (*graph.nodes, Node("sigmoid", ("head",), ("p",)))
    inside = Graph({**graph.sizes, "p": 3}, ("x",), (Output("y", "p", last=True),), nodes)
    again = subject(inside)
    chances, _ = both(again, sequences)
    drop = accuracy_drop(again, sequences, (chances > 0.5).astype(np.int64))
    assert drop.float_value == 100


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_windows(seed: int) -> None:
    graph = window_graph(seed)
    model = subject(graph)
    sequences = noise(graph, 5, 6) + noise(graph, 3, 4)
    drop = accuracy_drop(model, sequences)
    assert drop.count > 0
    assert drop.points < 20


def test_padding_does_not_count() -> None:
    plain = stack(["gru"], [6])
    gru, head = plain.nodes
    nodes = (replace(gru, mask="mask"), head)
    sizes = {**plain.sizes, "mask": 1}
    every = Graph(sizes, ("x", "mask"), (Output("y", "head", last=False),), nodes)
    model = subject(every)
    sequences = noise(every, 2, 8)
    assert accuracy_drop(model, sequences).count == 16
    sequences[0]["mask"][3:] = 0
    assert accuracy_drop(model, sequences).count == 11
    ended = subject(replace(every, outputs=plain.outputs))
    assert accuracy_drop(ended, sequences).count == 2


def test_what_cannot_be_measured_is_refused() -> None:
    graph = stack(["gru"], [6])
    model = subject(graph)
    with pytest.raises(InputError, match="no data"):
        accuracy_drop(model, [])
    with pytest.raises(InputError, match="2 labels for 1 sequences"):
        accuracy_drop(model, noise(graph, 1), np.zeros(2, np.int64))
    with pytest.raises(InputError, match="label 4 is no class: y has 4"):
        accuracy_drop(model, noise(graph, 1), np.array([4]))
    with pytest.raises(InputError, match="no label is 0 or more"):
        accuracy_drop(model, noise(graph, 1), np.array([-1]))
    with pytest.raises(InputError, match="cannot be known: gone"):
        accuracy_drop(Subject("m", model.program, None, "gone"), noise(graph, 1))
