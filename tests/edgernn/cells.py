"""What the tests of every cell share: models, data, and all engines held against the plain one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn import nn as edge
from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.exporters.tflite import to_tflite
from edgernn.float_engine import run_float
from edgernn.quantization import Quantized
from edgernn.runtime import Program, StepRuntime
from edgernn.streams import random_streams
from tests.exporters import tflite_cases, tflite_runner
from tests.exporters.c_host import PORTABLE, HostC
from tests.exporters.onnx_runner import run_model
from tests.programs import reference_run

Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "LSTM with projection": lambda f, h, **o: nn.LSTM(f, h, proj_size=max(h // 2, 1), **o),
    "GRUResetBefore": edge.GRUResetBefore,
    "LSTMPeephole": edge.LSTMPeephole,
    "MGU": edge.MGU,
    "FastGRNN": edge.FastGRNN,
    "FastGRNN, low rank": lambda f, h, **o: edge.FastGRNN(f, h, w_rank=2, u_rank=3, **o),
    "Jordan": lambda f, h, **o: edge.Jordan(f, h, max(h // 2, 1), **o),
    "Jordan, bounded": lambda f, h, **o: edge.Jordan(
        f, h, max(h // 2, 1), nonlinearity="relu", output_nonlinearity="tanh", **o
    ),
}
"""Layers that are called as nn.GRU is: name -> (input_size, hidden_size, **options)."""


def state_sizes(layer: Any) -> tuple[int, ...]:
    """Size of each state of a layer."""
    if isinstance(layer, nn.LSTM):
        return (layer.proj_size or layer.hidden_size, layer.hidden_size)
    if isinstance(layer, (nn.GRU, nn.RNN)):
        return (layer.hidden_size,)
    sizes: tuple[int, ...] = layer.state_sizes
    return sizes


def start_of(layer: Any, batch: int = 1, seed: int = 0) -> list[Tensor]:
    """Initial states of a layer, (layers * directions, batch, S) each, within +-0.5."""
    generator = torch.Generator().manual_seed(seed)
    rows = layer.num_layers * (1 + layer.bidirectional)
    return [torch.rand(rows, batch, n, generator=generator) - 0.5 for n in state_sizes(layer)]


class Layer(nn.Module):
    """One recurrent layer of any kind, with a Linear on top if head > 0.

    start: initial states (layers, 1, S) each; parameters, expanded to the batch. last: the last
    step only. layer(x), or layer(x, lengths) for padded sequences.
    """

    def __init__(
        self, layer: nn.Module, head: int = 0, start: Sequence[Tensor] = (), last: bool = False
    ) -> None:
        super().__init__()
        self.layer, self.last = layer, last
        width = state_sizes(layer)[0] * (1 + layer.bidirectional)
        self.head = nn.Linear(width, head) if head else None
        self.start = nn.ParameterList(nn.Parameter(h) for h in start)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        options = {} if lengths is None else {"lengths": lengths}
        batch = x.shape[0 if self.layer.batch_first else 1]
        if len(self.start):
            hx = tuple(h.expand(-1, batch, -1).contiguous() for h in self.start)
            y = self.layer(x, hx if len(hx) > 1 else hx[0], **options)[0]
        else:
            y = self.layer(x, **options)[0]
        if self.last:
            y = y[:, -1]
        return y if self.head is None else self.head(y)


class GivenState(nn.Module):
    """A recurrent layer whose initial states are inputs of the model."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *hx: Tensor) -> Tensor:
        y: Tensor = self.layer(x, hx if len(hx) > 1 else hx[0])[0]
        return y


def sequences(shape: tuple[int, ...], seed: int = 0) -> Float32:
    """Smooth and noisy numbers of unit size, (N, T, F)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    time = np.arange(shape[1])[None, :, None]
    waves = np.sin(time * rng.uniform(0.05, 1.0, (shape[0], 1, shape[2])))
    return (0.5 * noise + waves).astype(np.float32)


def signs_task(count: int, steps: int, features: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences (N, T, F), and whether the sum of the first feature is positive: 0 or 1, (N,)."""
    x = torch.from_numpy(sequences((count, steps, features), seed))
    return x, (x[:, :, 0].sum(dim=1) > 0).long()


def train(
    model: nn.Module, x: Tensor, target: Tensor, steps: int = 30, rate: float = 0.02
) -> tuple[float, float]:
    """Cross entropy of model(x) (N, classes) before and after; every parameter has a gradient."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        if step == 0:
            dead = [
                name
                for name, p in model.named_parameters()
                if p.grad is None or not bool((p.grad != 0).any())
            ]
            assert not dead, f"no gradient reaches {dead}"
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses[0], losses[-1]


def float_run(program: Quantized, x: Float32, **masks: Float32) -> Float32:
    """The float graph's one output (N, T, O), whatever it returns of it."""
    assert program.graph is not None
    given = dict(zip((n for n in program.inputs if n not in masks), [x], strict=True))
    results, _ = run_float(program.graph, {**given, **masks})
    (y,) = results.values()
    return y


def worst_error(program: Quantized, x: Float32, **masks: Float32) -> float:
    """Largest |int8 - float| of the one output over all steps, over the float output's largest."""
    expected = float_run(program, x, **masks)
    named = masks | {next(n for n in program.inputs if n not in masks): x}
    got = StepRuntime(program).run(*(named[name] for name in program.inputs))
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def random_inputs(program: Program, steps: int, seed: int) -> dict[str, Int16]:
    """Noise of any size, walks to the rails; mostly 0 and 1 for a mask, small ids for tokens."""
    parts = random_streams([program.tensors[n] for n in program.inputs], steps, seed)
    return {n: np.concatenate([p.inputs[n] for p in parts]) for n in program.inputs}


def assert_same_everywhere(
    program: Program,
    steps: int = 1000,
    seed: int = 0,
    inputs: Mapping[str, Int16] | None = None,
) -> int:
    """Closed loop, every engine gives the bits of the plain operators; returns how many compared.

    Engines: NumPy stream and batch, LiteRT, tflite-runtime 2.14 where there is one, ONNX step by
    step and scanned, portable C. inputs: name -> (T, F) int16, by default random ones.
    """
    x = dict(inputs) if inputs is not None else random_inputs(program, steps, seed)
    given = [x[name] for name in program.inputs]
    outputs, last = reference_run(program, given)
    expected = dict(zip(program.outputs, outputs, strict=True))
    expected_last = {f"state_{name}_next": value for name, value in last.items()}
    compared = 0

    def same(engine: str, got: Mapping[str, Any], final: Mapping[str, Any]) -> None:
        nonlocal compared
        for name, value in expected.items():
            differing = np.flatnonzero((got[name] != value).any(axis=-1))
            assert not len(differing), f"{engine}: {name} differs first at step {differing[0]}"
            compared += value.size
        for name, value in expected_last.items():
            assert np.array_equal(final[name], value), f"{engine}: {name} differs after the last"
            compared += value.size

    runtime = StepRuntime(program)
    same("numpy", _named(program, runtime.run_int(*given)), _states(runtime.state))
    stacked = [np.stack([v, v[::-1]]) for v in given]
    first = {n: v[0] for n, v in _named(program, runtime.run_int(*stacked)).items()}
    same("numpy, a batch", first, expected_last)

    initial = {f"state_{s.name}": s.initial for s in program.states}
    content = to_tflite(program)
    with tempfile.TemporaryDirectory() as folder:
        for name, run in _interpreters(Path(folder)).items():
            got = run(content, {**x, **initial})
            same(name, got, {k: got[k][-1] for k in expected_last})
        machine = HostC(program, Path(folder), PORTABLE)
        results, final = machine.run(given)
        same("C", dict(zip(program.outputs, results, strict=True)), _states(final))

    single = {k: v[None] for k, v in initial.items()}
    got = run_model(to_onnx_sequence(program), {k: v[:, None] for k, v in x.items()} | single)
    scanned = {k: got[k][:, 0] for k in expected}
    same("onnx, scanned", scanned, {k: got[k][0] for k in expected_last})
    _onnx_steps(program, x, single, same)
    return compared


def _onnx_steps(
    program: Program, x: Mapping[str, Int16], states: dict[str, Int16], same: Callable[..., None]
) -> None:
    from edgernn.engines.onnx import _session

    session = _session(to_onnx(program))
    fetch = [o.name for o in session.get_outputs()]
    rows: dict[str, list[Int16]] = {name: [] for name in program.outputs}
    for t in range(len(next(iter(x.values())))):
        feeds = {k: v[t : t + 1] for k, v in x.items()} | states
        got = dict(zip(fetch, session.run(fetch, feeds), strict=True))
        states = {f"state_{s.name}": got[f"state_{s.name}_next"] for s in program.states}
        for name, row in rows.items():
            row.append(got[name][0])
    final = {f"{k}_next": v[0] for k, v in states.items()}
    same("onnx, step by step", {k: np.stack(v) for k, v in rows.items()}, final)


def _interpreters(folder: Path) -> dict[str, tflite_cases.Run]:
    runs: dict[str, tflite_cases.Run] = {"ai-edge-litert": tflite_runner.run}
    if os.environ.get(tflite_cases.VARIABLE) or os.environ.get("CI") == "true":
        runs["tflite-runtime"] = tflite_cases.runner_of("tflite-runtime", folder)
    return runs


def _named(program: Program, results: Any) -> dict[str, Int16]:
    listed = results if isinstance(results, tuple) else (results,)
    return dict(zip(program.outputs, listed, strict=True))


def _states(values: Mapping[str, Int16]) -> dict[str, Int16]:
    return {f"state_{name}_next": value for name, value in values.items()}
