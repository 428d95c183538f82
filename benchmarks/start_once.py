"""One start in a process of its own: import, load, first step; milliseconds and memory as JSON.

    python benchmarks/start_once.py ENGINE FOLDER

The folder has what `test_startup.py` put there. Peers are loaded as their own examples do it.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

Stamp = Callable[[], None]


def numpy_engine(folder: str, imported: Stamp, loaded: Stamp, engine: str = "numpy") -> None:
    """Ours, NumPy or native."""
    import numpy as np

    from edgernn.runtime import StepRuntime

    imported()
    runtime = StepRuntime.load(os.path.join(folder, "model.safetensors"), engine=engine)
    loaded()
    x = np.zeros(runtime.program.tensors["x"].size, np.int16)
    runtime.step_int(x)


def native_engine(folder: str, imported: Stamp, loaded: Stamp) -> None:
    """The library that `edgernn build` made."""
    numpy_engine(folder, imported, loaded, "native")


def litert(folder: str, imported: Stamp, loaded: Stamp) -> None:
    """ai-edge-litert."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    imported()
    interpreter = Interpreter(os.path.join(folder, "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    loaded()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def onnx(folder: str, imported: Stamp, loaded: Stamp, name: str = "model.onnx") -> None:
    """ONNX Runtime, int8 or float."""
    import numpy as np
    import onnxruntime

    imported()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = os.path.join(folder, name)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    loaded()
    types: dict[str, Any] = {"tensor(int16)": np.int16, "tensor(float)": np.float32}
    feeds = {}
    for value in session.get_inputs():
        shape = [n if isinstance(n, int) else 1 for n in value.shape]
        feeds[value.name] = np.zeros(shape, types[value.type])
    session.run(None, feeds)


def onnx_float(folder: str, imported: Stamp, loaded: Stamp) -> None:
    """ONNX Runtime on the float reference."""
    onnx(folder, imported, loaded, "model.float.onnx")


def torch_float(folder: str, imported: Stamp, loaded: Stamp) -> None:
    """PyTorch's own layer."""
    import torch

    imported()
    weights = torch.load(os.path.join(folder, "model.pt"), weights_only=True)
    rows, features = weights["weight_ih_l0"].shape
    layer = torch.nn.GRU(features, rows // 3, batch_first=True)
    layer.load_state_dict(weights)
    loaded()
    with torch.inference_mode():
        layer(torch.zeros(1, 1, features))


def nothing(folder: str, imported: Stamp, loaded: Stamp) -> None:
    """Python alone."""
    imported()
    loaded()


ENGINES: dict[str, Callable[[str, Stamp, Stamp], None]] = {
    "NumPy": numpy_engine,
    "native": native_engine,
    "LiteRT": litert,
    "ONNX Runtime int8": onnx,
    "ONNX Runtime float": onnx_float,
    "PyTorch float": torch_float,
    "Python alone": nothing,
}


def peak() -> float:
    """Most memory that this process ever held, MiB."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            fields = dict(line.split(":", 1) for line in stream)
        return int(fields["VmHWM"].split()[0]) / 1024
    except OSError:
        # On Linux this would be at least what the parent held.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(engine: str, folder: str) -> None:
    """Start one engine and print what it took."""
    stamps = [time.perf_counter()]

    def stamp() -> None:
        stamps.append(time.perf_counter())

    ENGINES[engine](folder, stamp, stamp)
    stamp()
    spans = [1e3 * (b - a) for a, b in itertools.pairwise(stamps)]
    found = dict(zip(("import", "load", "first step"), spans, strict=True))
    print(json.dumps(found | {"memory": peak()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
