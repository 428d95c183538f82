"""Every network of the family, after steps that clip weights: what fine-tuning saw is what the
runtime computes, and the gradient is the float network's."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgernn
from benchmarks.family import arrays_of
from benchmarks.family_tasks import DIGITS, task_of
from benchmarks.models import ROWS
from edgernn.qat import IntegerNetwork
from edgernn.runtime import StepRuntime, Window, WindowRuntime
from edgernn.runtime.tokens import token_limits
from edgernn.runtime.window import window_of
from tests.windows import random_inputs

STREAM = (1, 300, 700)
WINDOWS = (1, 37, 300)
CLOSE = {"LayerNorm LSTM": 0.98, "LayerNorm GRU": 0.98, "LayerNorm, BatchNorm": 0.98}
"""Cosine to the float gradient, where the first steps are nearly constant and so mostly rounding;
of all others 0.99."""


def quantized(name: str) -> tuple[nn.Module, Any, Any]:
    """The row's network as it is initialised, its program, and images as it reads them."""
    row = ROWS[name]
    task = task_of(row.reads)
    torch.manual_seed(1)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # Of torch: of its flat weights, and of what oneDNN does not have.
        warnings.simplefilter("ignore", UserWarning)
        model = row.build(DIGITS).eval()
        inputs = tuple(v[:60] for v in task.train)
        calibration = tuple(arrays_of(None, inputs))
        program = edgernn.quantize(
            model, tuple(v[:3] for v in inputs),
            calibration=calibration if len(calibration) > 1 else calibration[0],
        )  # fmt: skip
    if not isinstance(program, Window):
        # The outputs of every step, as the runtime returns them.
        program = replace(program, metadata={**program.metadata, "last": []})
    return model, program, inputs


@pytest.mark.parametrize("name", ROWS)
def test_what_fine_tuning_saw_is_what_the_runtime_computes(name: str) -> None:
    model, program, inputs = quantized(name)
    network = IntegerNetwork(program)
    assert_same_bits(network, program, (50,))
    assert compare_gradients(name, model, network, inputs) > CLOSE.get(name, 0.99)
    x = [torch.from_numpy(v) for v in arrays_of(program, inputs)]
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(3):
        loss = (ending(network(*x)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    tuned = network.program()
    assert type(tuned) is type(program)
    assert tuned.metadata["fine_tuning"]["changed"] > 0.2 * tuned.weight_count
    weights = [op.matrix.weight for op in operators_of(tuned) if op.matrix is not None]
    assert max(np.abs(w).max() for w in weights) == 127
    assert_same_bits(network, tuned, WINDOWS if isinstance(program, Window) else STREAM)


def ending(y: torch.Tensor) -> torch.Tensor:
    """What a classifier looks at: the answer of the last step."""
    return y if y.dim() == 2 else y[:, -1]


def operators_of(program: Any) -> list[Any]:
    stages = program.stages if isinstance(program, Window) else [window_of(program).stages[0]]
    return [op for stage in stages for op in stage.program.operators]


def assert_same_bits(network: IntegerNetwork, program: Any, lengths: tuple[int, ...]) -> None:
    """Over random windows, or one stream of all these lengths together, closed loop."""
    window = program if isinstance(program, Window) else window_of(program)
    ids = {} if isinstance(program, Window) else token_limits(program)
    runtime: Any = WindowRuntime(program) if network.streams is False else StepRuntime(program)
    state = None
    for steps in lengths:
        given = []
        for tensor, value in zip(
            window.inputs, random_inputs(window, steps, steps, batch=1).values(), strict=True
        ):
            real = value * np.float32(float(tensor.scale))
            limit = ids.get(tensor.name)
            given.append(real if limit is None else np.abs(real) % limit.astype(np.float32))
        x = [torch.from_numpy(v) for v in given]
        with torch.no_grad():
            if isinstance(program, Window):
                found, right = network(*x), runtime.run(*given)
            else:
                found, state = network.run(*x, state=state)
                right = runtime.run(*(v[0] for v in given))[None]
        np.testing.assert_array_equal(found.numpy(), right)


def compare_gradients(
    name: str, model: nn.Module, network: IntegerNetwork, inputs: tuple[torch.Tensor, ...]
) -> float:
    """Cosine of the loss' gradient by the input, or by what tokens are embedded as."""
    model = getattr(model, "net", model)
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal(10).astype(np.float32))
    if ROWS[name].reads == "tokens":
        table: Any = model.front
        (model(*inputs) @ weight).sum().backward()
        x = [torch.from_numpy(v) for v in arrays_of(None, inputs)]
        (ending(network(*x)) @ weight).sum().backward()
        (latent,) = (p for n, p in network.latents.items() if n.endswith("_table"))
        first, second = table.weight.grad, latent.grad
    else:
        real, ints = inputs[0].clone().requires_grad_(), inputs[0].clone().requires_grad_()
        others = [torch.from_numpy(v) for v in arrays_of(None, inputs)[1:]]
        (model(real, *inputs[1:]) @ weight).sum().backward()
        (ending(network(ints, *others)) @ weight).sum().backward()
        first, second = real.grad, ints.grad
    network.zero_grad()
    assert first is not None
    assert second is not None
    return float(torch.cosine_similarity(first.flatten().double(), second.flatten().double(), 0))
