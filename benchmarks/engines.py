"""One step of a subject on every engine, each by its leanest call, ready to be timed.

Peers are shown at their best: LiteRT is set_tensor, invoke, get_tensor and nothing else, ONNX
Runtime a session's run on arrays that are there, PyTorch the cell itself under inference_mode.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from benchmarks.bare_onnx import bare_feeds, bare_operator
from benchmarks.subjects import NATIVE, NUMPY, Subject, native, quiet
from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.exporters.tflite import to_tflite
from edgernn.exporters.tflite_window import to_tflite_window
from edgernn.float_onnx import float_onnx
from edgernn.runtime import StepRuntime
from edgernn.runtime.window import window_of

Call = Callable[[], object]
LITERT: Final = "LiteRT"
ONNX_INT8: Final = "ONNX Runtime int8"
ONNX_FLOAT: Final = "ONNX Runtime float"
TORCH: Final = "PyTorch float"
TORCH_INT8: Final = "PyTorch dynamic int8"
CELLS: Final[dict[str, Any]] = {"GRU": nn.GRUCell, "LSTM": nn.LSTMCell, "Elman": nn.RNNCell}


def step_calls(s: Subject, folder: Path) -> dict[str, Call]:
    """One step for one stream."""
    x, numpy = s.integers[0, 0], StepRuntime(s.program)
    library, _ = native(s.program, folder)
    states = {f"state_{v.name}": v.initial[None] for v in s.program.states}
    return {
        NUMPY: lambda: numpy.step_int(x),
        NATIVE: lambda: library.step_int(x),
        LITERT: litert(to_tflite(s.program), {"x": x[None], **states}),
        ONNX_INT8: onnx(to_onnx(s.program), {"x": x[None], **states}),
        ONNX_FLOAT: onnx_float(s, 1, 1, every_step=False),
        **torch_steps(s),
    }


def window_calls(s: Subject, streams: int, steps: int, folder: Path) -> dict[str, Call]:
    """`steps` steps of `streams` streams in one call."""
    x = np.resize(s.integers, (streams, steps, s.features))
    time_first = np.ascontiguousarray(x.swapaxes(0, 1))
    numpy = StepRuntime(s.program)
    library, _ = native(s.program, folder)
    states = {f"state_{v.name}": np.repeat(v.initial[None], streams, 0) for v in s.program.states}
    given = x if streams > 1 else x[0]
    calls: dict[str, Call] = {
        NUMPY: lambda: numpy.run_int(given),
        NATIVE: lambda: library.run_int(given),
        ONNX_INT8: onnx(to_onnx_sequence(s.program), {"x": time_first, **states}),
        ONNX_FLOAT: onnx_float(s, streams, steps, every_step=True),
        **torch_windows(s, streams, steps),
    }
    if streams == 1:
        # A .tflite takes one window at a time.
        content = to_tflite_window(window_of(s.program), steps)
        calls[LITERT] = litert(content, {"x": x})
    return calls


def litert(content: bytes, arrays: dict[str, Any]) -> Call:
    """set_tensor, invoke, get_tensor of a .tflite; arrays: by names of its inputs."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (signature,) = interpreter.get_signature_list().values()
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    details = runner.get_input_details()
    feeds = [(details[name]["index"], arrays[name]) for name in signature["inputs"]]
    fetches = [d["index"] for d in runner.get_output_details().values()]
    # A runner that lives on holds the interpreter's memory, which invoke() does not tolerate.
    del runner

    def call() -> None:
        for index, array in feeds:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        for index in fetches:
            interpreter.get_tensor(index)

    return call


def onnx(content: bytes, arrays: dict[str, Any]) -> Call:
    """A session's run on one thread; arrays: by names of its inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    assert {i.name for i in session.get_inputs()} == set(arrays)
    return lambda: session.run(None, arrays)


def onnx_float(s: Subject, streams: int, steps: int, every_step: bool) -> Call:
    """ONNX's own operator where there is one; for another cell the exported float reference."""
    x = np.resize(s.data, (streams, steps, s.features))
    if s.is_own:
        feeds = bare_feeds(s.cell, s.hidden, np.ascontiguousarray(x.swapaxes(0, 1)))
        return onnx(bare_operator(s.cell, s.graph, every_step), feeds)
    states = {f"state_{v.name}": np.repeat(v.initial[None], streams, 0) for v in s.graph.states}
    return onnx(float_onnx(s.graph), {"x": x, **states})


def torch_steps(s: Subject) -> dict[str, Call]:
    """PyTorch's cell, in float and in dynamic int8; a layer of edgernn.nn in float alone."""
    x = torch.from_numpy(s.data[:1, 0])
    if not s.is_own:
        return {TORCH: _inference(s.layer, x[:, None])}
    cell, h = CELLS[s.cell](s.features, s.hidden), torch.zeros(1, s.hidden)
    states = (h, torch.zeros(1, s.hidden)) if s.cell == "LSTM" else h
    calls = {TORCH: _inference(cell, x, states)}
    if (quantized := dynamic(cell)) is not None:
        calls[TORCH_INT8] = _inference(quantized, x, states)
    return calls


def torch_windows(s: Subject, streams: int, steps: int) -> dict[str, Call]:
    """PyTorch's layer over (N, T, F), in float and in dynamic int8."""
    x = torch.from_numpy(np.resize(s.data, (streams, steps, s.features)))
    calls = {TORCH: _inference(s.layer, x)}
    if s.is_own and (quantized := dynamic(s.layer)) is not None:
        calls[TORCH_INT8] = _inference(quantized, x)
    return calls


def dynamic(module: nn.Module) -> Any:
    """PyTorch's dynamic int8 version, or None where it has none: it leaves nn.RNN in float, and
    is announced to go."""
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        return None
    with quiet():
        quantize: Any = quantize_dynamic
        found = quantize(nn.Sequential(module), {type(module)}, dtype=torch.qint8)[0]
    return None if type(found) is type(module) else found


def _inference(module: Any, *arguments: Any) -> Call:
    def call() -> None:
        with torch.inference_mode():
            module(*arguments)

    return call
