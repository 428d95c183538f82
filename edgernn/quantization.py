"""From a float model to an integer program: import, calibrate, lower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.calibrate import Method, Sequences, as_sequences, calibrate
from edgernn.feedback import feed_back
from edgernn.float_file import FloatModel
from edgernn.graph import Graph, Node
from edgernn.lowering.program import lower
from edgernn.lowering.window import lower_window
from edgernn.progress import Progress
from edgernn.rounding import STRATEGIES
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.version import __version__

if TYPE_CHECKING:
    import torch

    from edgernn.importer.heads import Heads

DEFAULT_ROUNDING = "compensated"
SAMPLE_VALUES = 1 << 16
"""Numbers of calibration data that travel with a program, for later verification."""


@dataclass(frozen=True, eq=False)
class Quantized(Program):
    """A program together with what it came from, in memory only.

    float_model: the float network and its amplitudes in calibration. sample: some calibration
    sequences, input name -> (T, F) float32.
    """

    float_model: FloatModel | None = None
    sample: Sequences = field(default_factory=list)

    @property
    def graph(self) -> Graph | None:
        """The float network."""
        return None if self.float_model is None else self.float_model.graph


@dataclass(frozen=True, eq=False)
class QuantizedWindow(Window):
    """A window program together with what it came from, in memory only; see Quantized."""

    float_model: FloatModel | None = None
    sample: Sequences = field(default_factory=list)

    @property
    def graph(self) -> Graph | None:
        """The float network."""
        return None if self.float_model is None else self.float_model.graph


def quantize(
    model: torch.nn.Module | torch.export.ExportedProgram,
    args: tuple[Any, ...] | None = None,
    *,
    calibration: Any,
    method: Method = "minmax",
    rounding: str = DEFAULT_ROUNDING,
    progress: Progress | None = None,
    heads: Heads = "logits",
    feedback: Mapping[str, str] | None = None,
) -> Quantized | QuantizedWindow:
    """Quantize a PyTorch model into one integer program: of a step, or of a window if a layer of
    the model runs backwards.

    model: an nn.Module (args: example inputs for torch.export) or an ExportedProgram.
    calibration: float data as the model's input, (N, T, F), or a list of (T_i, F); for several
    inputs a tuple or mapping of such. method: minmax, percentile or mse.
    rounding: a strategy of `edgernn.rounding.STRATEGIES`.
    heads: `logits` leaves a softmax, log_softmax, sigmoid or softplus at the model's end to the
    application, so that the program returns what it reads; `integer` makes it a part of the
    program (not log_softmax).
    feedback: output -> input that reads it in the next step, wherever the added input `given` is 0;
    see `edgernn.feedback`.
    Raises UnsupportedError for a model that cannot be lowered exactly, InputError for bad data.
    """
    from edgernn.importer import import_model

    graph = import_model(model, args, heads)
    for output, fed in (feedback or {}).items():
        graph = feed_back(graph, output, fed)
    return quantize_graph(graph, calibration, method, rounding, progress)


def quantize_graph(
    graph: Graph,
    calibration: Any,
    method: Method = "minmax",
    rounding: str = DEFAULT_ROUNDING,
    progress: Progress | None = None,
) -> Quantized | QuantizedWindow:
    """`quantize` for a graph that is already imported."""
    if rounding not in STRATEGIES:
        raise InputError(f"rounding {rounding!r} is none of {', '.join(STRATEGIES)}")
    sequences = as_sequences(graph, calibration)
    ranges = calibrate(graph, sequences, method, progress)
    float_model = FloatModel(graph, ranges.amplitudes)
    metadata: dict[str, Any] = {
        "producer": f"edgernn {__version__}",
        "batch_first": graph.batch_first,
        "last": [output.name for output in graph.outputs if output.last],
        "heads": {output.name: output.head for output in graph.outputs if output.head},
        "calibration": {
            "method": method,
            "rounding": rounding,
            "sequences": len(sequences),
            "steps": sum(len(s[graph.inputs[0]]) for s in sequences),
        },
    }
    if graph.feedback:
        names = {o.value: o.name for o in graph.outputs}
        metadata["feedback"] = {names[f.output]: [f.input, f.given] for f in graph.feedback}
    metadata["network"] = [_outline(node) for node in graph.nodes]
    if graph.is_window:
        metadata["unreturned"] = graph.unreturned
        metadata["window"] = max(len(s[graph.inputs[0]]) for s in sequences)
        window = lower_window(graph, ranges, STRATEGIES[rounding], metadata)
        return with_float(window, float_model, _excerpt(sequences, whole=True))
    program = lower(graph, ranges, STRATEGIES[rounding], metadata)
    return with_float(program, float_model, _excerpt(sequences))


def with_float(
    program: Program | Window, float_model: FloatModel, sample: Sequences
) -> Quantized | QuantizedWindow:
    """A program together with the network and the data that it came from."""
    kind = QuantizedWindow if isinstance(program, Window) else Quantized
    own = {field.name: getattr(program, field.name) for field in fields(program)}
    return kind(**own, float_model=float_model, sample=sample)


def _outline(node: Node) -> dict[str, Any]:
    """A layer as `edgernn inspect` draws it."""
    outline: dict[str, Any] = {
        "kind": node.kind,
        "reads": list(node.reads),
        "writes": list(node.outputs),
    }
    if node.reverse:
        outline["reverse"] = True
    if node.carried:
        outline["states"] = [state.name for state in node.carried]
    return outline


def _excerpt(sequences: Sequences, whole: bool = False) -> Sequences:
    """Sequences from the start, the last one cut unless all must be whole, SAMPLE_VALUES numbers
    in all, but for one sequence at least."""
    left = SAMPLE_VALUES
    result: Sequences = []
    for sequence in sequences:
        width = sum(v.shape[1] for v in sequence.values())
        steps = min(len(next(iter(sequence.values()))), max(left // width, 1))
        if whole:
            steps = len(next(iter(sequence.values())))
            if result and steps * width > left:
                break
        result.append({name: np.ascontiguousarray(v[:steps]) for name, v in sequence.items()})
        left -= steps * width
        if left <= 0:
            break
    return result
