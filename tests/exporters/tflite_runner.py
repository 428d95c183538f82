"""Runs a .tflite step in a closed loop; a script of its own, so that any interpreter can be used.

    python tflite_runner.py model.tflite given.npz results.npz [model.tflite given.npz ...]

Any number of models, three files each.
given.npz: every signature input that is no state as (steps, size), every `state_<name>` as (size,).
results.npz: every signature output as (steps, size). Needs NumPy and one of the interpreters alone.
"""

from __future__ import annotations

import sys

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter


def run(content: bytes, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The content of results.npz for a model's and given.npz's."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("step")
    inputs = {k: v["index"] for k, v in runner.get_input_details().items()}
    outputs = {k: v["index"] for k, v in runner.get_output_details().items()}
    # It would hold the interpreter's memory.
    del runner
    states = {k: given[k][None] for k in inputs if f"{k}_next" in outputs}
    sequences = {k: given[k] for k in inputs if k not in states}
    results: dict[str, list[np.ndarray]] = {k: [] for k in outputs}
    for t in range(len(next(iter(sequences.values())))):
        for name, sequence in sequences.items():
            interpreter.set_tensor(inputs[name], sequence[t : t + 1])
        for name, state in states.items():
            interpreter.set_tensor(inputs[name], state)
        interpreter.invoke()
        for name, index in outputs.items():
            results[name].append(interpreter.get_tensor(index))
        states = {k: results[f"{k}_next"][-1] for k in states}
    return {k: np.concatenate(v) for k, v in results.items()}


if __name__ == "__main__":
    for i in range(1, len(sys.argv), 3):
        model, given_path, results_path = sys.argv[i : i + 3]
        with open(model, "rb") as stream:
            model_content = stream.read()
        with np.load(given_path) as arrays:
            np.savez(results_path, **run(model_content, dict(arrays)))
