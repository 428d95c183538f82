"""Networks of the whole family, quantized: what prices are taken from, and others to check them.

Each is built with layers of torch.nn and edgernn.nn, in sizes of all kinds, and never trained:
what a step costs does not depend on what a network has learned.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

import edgernn
import edgernn.nn as enn
from benchmarks.models import ROWS, Row, Sizes
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.window_model import WindowModel
from edgernn.footprint.features import functions
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

STEPS: Final = 12
CELLS: Final[tuple[Callable[..., nn.Module], ...]] = (
    nn.GRU,
    nn.LSTM,
    nn.RNN,
    lambda i, h, **more: nn.RNN(i, h, nonlinearity="relu", **more),
    lambda i, h, **more: nn.LSTM(i, 2 * h, proj_size=h, **more),
    enn.MGU,
    enn.FastGRNN,
    lambda i, h, **more: enn.FastGRNN(i, h, w_rank=-(-h // 3), u_rank=-(-h // 2), **more),
    enn.GRUResetBefore,
    enn.LSTMPeephole,
    enn.LayerNormGRU,
    enn.LayerNormLSTM,
    lambda i, h, **more: enn.Jordan(i, h + 3, h, output_nonlinearity="tanh", **more),
    lambda i, h, **more: enn.Jordan(i, h + 3, h, nonlinearity="relu", **more),
)
"""(inputs, units, batch_first) -> a layer whose first output is as wide as its units."""
TRAINED: Final = (Sizes(8, 3, 16, 20), Sizes(13, 5, 28, 30, 9), Sizes(5, 2, 9, 11, 7),
                  Sizes(21, 7, 35, 25, 16), Sizes(16, 12, 40, 33, 24))  # fmt: skip
"""Of the networks that prices are taken from."""
HELD_OUT: Final = (Sizes(10, 4, 24, 17, 10), Sizes(7, 6, 19, 12, 5))
"""Of those that they are checked on."""


class Network(nn.Module):
    """Layers of any kind, one on the other, and what users put in front, between and behind."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)

        def one_of(*choices: Any) -> Any:
            return choices[int(rng.integers(len(choices)))]

        self.features = width = int(rng.integers(3, 24))
        self.tokens = 0
        self.front: nn.Module = nn.Identity()
        match one_of("", "", "embedding", "linear", "norm", "convolution"):
            case "embedding":
                self.tokens = int(rng.integers(8, 40))
                self.front = nn.Embedding(self.tokens, width)
            case "linear":
                wider = int(rng.integers(4, 30))
                self.front = nn.Sequential(nn.Linear(width, wider), one_of(nn.ReLU, nn.Tanh)())
                width = wider
            case "norm":
                self.front = Channels(nn.BatchNorm1d(width))
            case "convolution":
                wider = int(rng.integers(4, 20))
                self.front = Channels(enn.CausalConv1d(width, wider, 3), nn.ReLU())
                width = wider
        self.layers, self.between = nn.ModuleList(), nn.ModuleList()
        self.residual: list[bool] = []
        same, units = rng.random() < 0.4, int(rng.integers(5, 49))
        for _ in range(one_of(1, 1, 2, 2, 3)):
            units = units if same else int(rng.integers(5, 49))
            self.layers.append(one_of(*CELLS)(width, units, batch_first=True))
            self.residual.append(width == units and bool(rng.random() < 0.6))
            width = units
            after = one_of("", "", "", "norm", "batch", "relu", "tanh", "sigmoid")
            self.between.append(
                {
                    "norm": nn.LayerNorm,
                    "batch": lambda n: Channels(nn.BatchNorm1d(n)),
                    "relu": lambda _: nn.ReLU(),
                    "tanh": lambda _: nn.Tanh(),
                    "sigmoid": lambda _: nn.Sigmoid(),
                }.get(after, lambda _: nn.Identity())(width)
            )
        self.pool = one_of("last", "last", "last", "mean", "max")
        classes = int(rng.integers(2, 13))
        self.head = nn.Linear(width, classes)
        self.end = one_of("", "", "", "softmax", "sigmoid", "tanh")

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        for layer, between, residual in zip(self.layers, self.between, self.residual, strict=True):
            y = layer(x)[0]
            x = between(x + y if residual else y)
        x = {"last": lambda: x[:, -1], "mean": lambda: x.mean(1), "max": lambda: x.amax(1)}[
            self.pool
        ]()
        y = self.head(x)
        if self.end == "softmax":
            return torch.softmax(y, dim=-1)
        return {"sigmoid": torch.sigmoid, "tanh": torch.tanh}.get(self.end, lambda v: v)(y)


class Channels(nn.Sequential):
    """Modules that take (N, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x.transpose(1, 2))
        return y.transpose(1, 2)


def network(seed: int) -> Program | Window:
    """A random network, in one of very many forms."""
    torch.manual_seed(seed)
    model = Network(seed).eval()
    rng = np.random.default_rng(seed)
    if model.tokens:
        x = torch.from_numpy(rng.integers(0, model.tokens, (4, STEPS)))
    else:
        x = torch.from_numpy(rng.standard_normal((4, STEPS, model.features)).astype(np.float32))
    return _quantized(model, (x,), x)


def member(row: Row, sizes: Sizes, seed: int) -> Program | Window:
    """A network of the table of benchmarks/models.py."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((4, STEPS, sizes.features)).astype(np.float32))
    given: tuple[Tensor, ...] = (x,)
    calibration: Any = x
    if row.reads == "lengths":
        lengths = rng.integers(2, STEPS + 1, len(x))
        given = (x, torch.from_numpy(lengths))
        calibration = [v[:n].numpy() for v, n in zip(x, lengths.tolist(), strict=True)]
    elif row.reads == "tokens":
        given = (torch.from_numpy(rng.integers(0, sizes.tokens, (4, STEPS))),)
        calibration = given[0]
    elif row.reads == "missing":
        seen = torch.from_numpy((rng.random(x.shape) < 0.7).astype(np.float32))
        gap = torch.from_numpy(rng.integers(1, 4, x.shape).astype(np.float32))
        given = calibration = (x, seen, gap)
    return _quantized(row.build(sizes).eval(), given, calibration)


def _quantized(model: nn.Module, given: tuple[Tensor, ...], calibration: Any) -> Program | Window:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return edgernn.quantize(model, given, calibration=calibration, heads="integer")


def members(sizes: Iterable[Sizes], first: int = 0) -> dict[str, Program | Window]:
    """Every network of the table, in all of the sizes."""
    return {
        f"{name} {s.hidden}": member(row, s, i)
        for i, s in enumerate(sizes, first)
        for name, row in ROWS.items()
    }


def networks(seeds: Iterable[int]) -> dict[str, Program | Window]:
    """Random networks."""
    return {f"network {seed}": network(seed) for seed in seeds}


def steps(found: dict[str, Program | Window], prefix: str) -> dict[str, Program]:
    """What is stepped, under names for C: programs, and the stages of windows."""
    result: dict[str, Program] = {}
    for number, program in enumerate(found.values()):
        if isinstance(program, Program):
            result[f"{prefix}{number}"] = Program(
                *(getattr(program, field.name) for field in fields(Program))
            )
        else:
            models: tuple[Model, ...] = WindowModel(program, "w").stages
            result |= {f"{prefix}{number}_{i}": m.program for i, m in enumerate(models)}
    return result


def cover(programs: dict[str, Program], lanes: int, times: int = 2) -> dict[str, Program]:
    """Of programs those that bring a loop, called as it is, that fewer than `times` others have."""
    seen: Counter[str] = Counter()
    chosen: dict[str, Program] = {}
    for name, program in programs.items():
        loops = {function.name(lanes) for function in functions(Model(program, name))}
        if any(seen[loop] < times for loop in loops):
            seen.update(loops)
            chosen[name] = program
    return chosen
