"""Run an exported ONNX model, and what its results must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

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


def session_of(content: bytes, optimized: bool = True) -> Any:
    """A session; without optimisations every node runs as it stands in the file."""
    if optimized:
        return _session(content)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_model(content: bytes, feeds: Arrays, optimized: bool = True) -> Arrays:
    return run_session(session_of(content, optimized), feeds)


def run_session(session: Any, feeds: Arrays) -> Arrays:
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def assert_step(program: Program, result: Arrays, inputs: Arrays, states: Arrays) -> None:
    values = every_tensor(program, inputs, states)
    for name, tensor in program.outputs.items():
        np.testing.assert_array_equal(result[name], values[tensor], err_msg=name)
    for state in program.states:
        key = f"state_{state.name}_next"
        np.testing.assert_array_equal(result[key], values[state.output], err_msg=key)
