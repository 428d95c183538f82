"""Run an exported ONNX model, and what its results must be."""

from __future__ import annotations

import numpy as np

from edgernn.engines.onnx import _session
from edgernn.runtime.operators import evaluate_step
from edgernn.runtime.program import Program

Arrays = dict[str, np.ndarray]


def every_tensor(program: Program, inputs: Arrays, states: Arrays) -> Arrays:
    """What the plain engine computes."""
    wide = [{k: a.astype(np.int64) for k, a in arrays.items()} for arrays in (inputs, states)]
    return evaluate_step(program, wide[0], wide[1])


def full_range(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Any int16, the extremes often."""
    values = rng.integers(-32768, 32768, shape).astype(np.int16)
    extreme = rng.choice(np.array([-32768, 32767, 0, -1], np.int16), shape)
    return np.where(rng.random(shape) < 0.1, extreme, values)


def random_inputs(program: Program, rng: np.random.Generator, *leading: int) -> Arrays:
    return {n: full_range(rng, *leading, program.tensors[n].size) for n in program.inputs}


def random_states(program: Program, rng: np.random.Generator, batch: int) -> Arrays:
    return {s.name: full_range(rng, batch, len(s.initial)) for s in program.states}


def feeds_of(inputs: Arrays, states: Arrays) -> Arrays:
    return inputs | {f"state_{name}": array for name, array in states.items()}


def run_model(content: bytes, feeds: Arrays) -> Arrays:
    session = _session(content)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def assert_step(program: Program, result: Arrays, inputs: Arrays, states: Arrays) -> None:
    values = every_tensor(program, inputs, states)
    for name, tensor in program.outputs.items():
        np.testing.assert_array_equal(result[name], values[tensor], err_msg=name)
    for state in program.states:
        key = f"state_{state.name}_next"
        np.testing.assert_array_equal(result[key], values[state.output], err_msg=key)
