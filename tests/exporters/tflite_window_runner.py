"""Runs a .tflite window program on windows of any lengths; a script, for any interpreter.

    python tflite_window_runner.py model.tflite given.npz results.npz [model.tflite ...]

Any number of models, three files each. given.npz: `<number>/<input>` (T, size), windows numbered
from 0; results.npz: `<number>/<output>` (T, size) or (size,). It calls the signature as users do,
who get other lengths for the asking. Needs NumPy and one of the interpreters alone.
"""

from __future__ import annotations

import sys

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter


def run(content: bytes, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The content of results.npz for a model's and given.npz's; one interpreter for all windows."""
    window = Interpreter(model_content=content, num_threads=1).get_signature_runner("window")
    results = {}
    for number in range(1 + max(int(key.split("/")[0]) for key in given)):
        start = f"{number}/"
        inputs = {k[len(start) :]: v[None] for k, v in given.items() if k.startswith(start)}
        results.update({start + k: v[0] for k, v in window(**inputs).items()})
    return results


if __name__ == "__main__":
    for i in range(1, len(sys.argv), 3):
        model, given_path, results_path = sys.argv[i : i + 3]
        with open(model, "rb") as stream:
            model_content = stream.read()
        with np.load(given_path) as arrays:
            np.savez(results_path, **run(model_content, dict(arrays)))
