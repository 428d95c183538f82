"""The outputs of a float network, and of an integer program, over a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.training.base import Outputs, Split
from edgernn.training.batches import collate, padded

BATCH = 128
STEPS = 1 << 16
"""Steps in a batch, at most; long streams go alone."""


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    """The outputs of a network as a tuple."""
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def float_outputs(network: torch.nn.Module, split: Split) -> Outputs:
    """What a network says, in evaluation mode; its mode is put back."""
    training = network.training
    network.eval()
    device = next(iter(network.parameters())).device
    results: list[tuple[NDArray[np.float32], ...]] = [()] * len(split)
    with torch.no_grad():
        for chosen in _by_length(split.lengths):
            batch = collate(split, chosen)
            inputs = [batch[name].to(device) for name in split.inputs]
            found = as_tuple(network(*inputs, lengths=batch["lengths"].to(device)))
            for row, i in enumerate(chosen):
                results[i] = tuple(
                    _cut(o[row].cpu().numpy(), len(inputs[0][row]), int(split.lengths[i]))
                    for o in found
                )
    network.train(training)
    return results


def integer_outputs(program: Program | Window, split: Split) -> Outputs:
    """What its integer program says, in the NumPy engine, each sequence from the initial state.

    A program that streams answers at every step, whether the network does or not.
    """
    runtime: Any = WindowRuntime(program) if isinstance(program, Window) else StepRuntime(program)
    results: list[tuple[NDArray[np.float32], ...]] = [()] * len(split)
    for chosen in _by_length(split.lengths, same=isinstance(program, Window)):
        longest = int(split.lengths[chosen].max())
        inputs = [_stacked([split.arrays[n][i] for i in chosen], longest) for n in split.inputs]
        found = as_tuple(runtime.run(*inputs))
        for row, i in enumerate(chosen):
            results[i] = tuple(_cut(o[row], longest, int(split.lengths[i])) for o in found)
    return results


def _stacked(rows: list[NDArray[Any]], longest: int) -> NDArray[np.float32]:
    """(N, T, F) float32; token ids are numbers of one feature to a program."""
    columns = [row[:, None] if row.ndim == 1 else row for row in rows]
    return padded([column.astype(np.float32) for column in columns], longest)


def _cut(output: NDArray[np.float32], longest: int, length: int) -> NDArray[np.float32]:
    """(T_i, O) of an output of one sequence (T, O), or (1, O) of one that has no steps."""
    if output.ndim == 1:
        return output[None]
    return output[:length] if len(output) == longest else output


def _by_length(lengths: NDArray[np.int64], same: bool = False) -> Iterator[list[int]]:
    """Batches of places; same: only sequences of equal length share one."""
    order = np.argsort(lengths, kind="stable")
    batch: list[int] = []
    for i in order.tolist():
        full = len(batch) >= BATCH or (len(batch) + 1) * lengths[i] > STEPS
        if batch and (full or (same and lengths[i] != lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
