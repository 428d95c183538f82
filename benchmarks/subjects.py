"""What is timed: one recurrent layer of random weights, quantized, and what its peers step.

The weights are PyTorch's initial ones, the data normal; neither matters for the time of a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import edgernn.nn as enn
from edgernn.building import build
from edgernn.graph import Graph
from edgernn.importer import import_model
from edgernn.quantization import Quantized, quantize_graph
from edgernn.runtime import StepRuntime, save_program

LAYERS: Final[dict[str, Callable[..., nn.Module]]] = {
    "GRU": nn.GRU,
    "LSTM": nn.LSTM,
    "Elman": nn.RNN,
    "GRU, reset before": enn.GRUResetBefore,
    "LSTM, peephole": enn.LSTMPeephole,
    "MGU": enn.MGU,
    "FastGRNN": enn.FastGRNN,
    "Jordan": lambda features, hidden, **o: enn.Jordan(features, hidden, hidden, **o),
    "LayerNorm GRU": enn.LayerNormGRU,
    "LayerNorm LSTM": enn.LayerNormLSTM,
}
"""Cell -> its layer; the first three are PyTorch's own."""
OWN: Final = ("GRU", "LSTM", "Elman")
SIZES: Final = ((16, 8), (64, 32), (128, 40), (256, 64))
"""(hidden, features) of every cell of PyTorch."""
MIDDLE: Final = (64, 32)
"""Of the others."""
NUMPY, NATIVE = "NumPy", "native"
OURS: Final = (NUMPY, NATIVE)


@dataclass(frozen=True, eq=False)
class Subject:
    """A layer on the desk: float module and graph, program, data (8, 64, F) float32 and int16."""

    cell: str
    hidden: int
    features: int
    layer: Any
    graph: Graph
    program: Quantized
    data: NDArray[np.float32]
    integers: NDArray[np.int16]

    @property
    def key(self) -> dict[str, Any]:
        """How results name it."""
        return {"cell": self.cell, "hidden": self.hidden, "features": self.features}

    @property
    def is_own(self) -> bool:
        """Does PyTorch have this layer itself?"""
        return self.cell in OWN


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch says of its flat weights, and that its quantization will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@lru_cache(maxsize=2)
def subject(cell: str, hidden: int, features: int) -> Subject:
    """Made once; one thread from here on."""
    torch.manual_seed(hidden)
    torch.set_num_threads(1)
    data = np.random.default_rng(hidden).standard_normal((8, 64, features)).astype(np.float32)
    layer = LAYERS[cell](features, hidden, batch_first=True).eval()
    with quiet():
        graph = import_model(layer, (torch.from_numpy(data[:2, :4]),))
    program = quantize_graph(graph, data)
    assert isinstance(program, Quantized)
    integers = np.rint(data / float(program.tensors["x"].scale)).astype(np.int16)
    return Subject(cell, hidden, features, layer, graph, program, data, integers)


def native(program: Quantized, folder: Path) -> tuple[StepRuntime, str]:
    """The program on a library that was built and verified for it, and its kernels."""
    path = folder / "model.safetensors"
    save_program(program, path)
    built = build(folder, verify_steps=200)
    return StepRuntime.load(path, engine="native"), str(built.kernels)
