"""Programs of no particular architecture, closed loop: the ONNX step and sequence, every bit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.runtime.operators import KINDS
from edgernn.runtime.program import Program
from tests.exporters.onnx_runner import Arrays, every_tensor, feeds_of, run_session, session_of
from tests.programs import random_integers, random_structure

STEPS, BATCH = 10, 3
GROUPS, SEEDS = 10, 32


def structure(seed: int) -> Program:
    return random_structure(seed, 8 + seed % 32)


def compare(program: Program, seed: int, optimized: bool) -> None:
    """The step fed with its own states, and the sequence at once; every other seed every tensor."""
    rng = np.random.default_rng(seed)
    exposed = list(program.tensors) if seed % 2 else []
    contents = [export(program, expose=exposed) for export in (to_onnx, to_onnx_sequence)]
    for content in contents:
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    step, sequence = (session_of(content, optimized) for content in contents)
    inputs = {
        name: random_integers(rng, (STEPS, BATCH, program.tensors[name].size))
        for name in program.inputs
    }
    states: Arrays = {s.name: random_integers(rng, (BATCH, len(s.initial))) for s in program.states}
    whole = run_session(sequence, feeds_of(inputs, states))
    outputs = {**program.outputs, **{f"tensor_{name}": name for name in exposed}}
    expected, carried = states, states
    for t in range(STEPS):
        now = {name: array[t] for name, array in inputs.items()}
        values = every_tensor(program, now, expected)
        result = run_session(step, feeds_of(now, carried))
        for name, tensor in outputs.items():
            where = f"seed {seed}, step {t}, {name} ({tensor})"
            np.testing.assert_array_equal(result[name], values[tensor], where)
            np.testing.assert_array_equal(whole[name][t], values[tensor], f"{where}, sequence")
            assert result[name].shape == values[tensor].shape == whole[name][t].shape, where
        expected = {s.name: values[s.output].astype(np.int16) for s in program.states}
        carried = {s.name: result[f"state_{s.name}_next"] for s in program.states}
        for name, state in carried.items():
            np.testing.assert_array_equal(state, expected[name], f"seed {seed}, step {t}, {name}")
    for name, state in expected.items():
        np.testing.assert_array_equal(whole[f"state_{name}_next"], state, f"seed {seed}, {name}")


@pytest.mark.parametrize("group", range(GROUPS))
def test_any_valid_program_is_the_same_bits(group: int) -> None:
    for seed in range(group * SEEDS, (group + 1) * SEEDS):
        compare(structure(seed), seed, optimized=True)


@pytest.mark.parametrize("group", range(2))
def test_any_valid_program_is_the_same_bits_without_optimisations(group: int) -> None:
    for seed in range(group * SEEDS, (group + 1) * SEEDS):
        compare(structure(seed), seed, optimized=False)


def test_the_programs_use_every_operator_and_constants_everywhere() -> None:
    kinds: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for seed in range(GROUPS * SEEDS):
        program = structure(seed)
        constants = program.constants.keys()
        kinds.update(op.kind for op in program.operators)
        for op in program.operators:
            places.update({op.kind for name in op.inputs if name in constants})
            places.update(["alone"] if constants >= set(op.inputs) else [])
        places.update("output" for name in program.outputs.values() if name in constants)
        places.update("state" for s in program.states if s.output in constants)
    assert min(kinds[kind] for kind in KINDS) >= 20, kinds
    # A token is no constant there.
    wanted = {*KINDS, "alone", "output", "state"} - {"embedding"}
    assert min(places[place] for place in wanted) >= 3, places
