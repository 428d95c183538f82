"""The two places where numbers of torch become integers: the inputs, and a program's scan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor as Torch
from torch.autograd.function import once_differentiable

from edgernn.qat.latents import Latent, weights_of
from edgernn.qat.rule import Array, Float32
from edgernn.qat.scan import Scan, Tape
from edgernn.runtime.engine import quantize
from edgernn.runtime.errors import InputError
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN
from edgernn.runtime.program import Tensor

HELD: Final = 1 << 23
"""Numbers held at a time where no gradient is wanted."""


class Quantize(torch.autograd.Function):
    """Real numbers (..., F) to whole ones in units of a tensor; straight through where in range."""

    @staticmethod
    def forward(ctx: Any, x: Torch, tensor: Tensor, ids: NDArray[np.int64] | None) -> Torch:
        units = quantize(x.detach().numpy(), tensor, ids=ids)
        ctx.scale = float(tensor.scale)
        if ctx.needs_input_grad[0]:
            ctx.inside = torch.from_numpy((units > INT16_MIN) & (units < INT16_MAX))
        return torch.from_numpy(units.astype(np.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Torch) -> tuple[Torch, None, None]:
        return g * ctx.inside / ctx.scale, None, None


class StageScan(torch.autograd.Function):
    """A program over all steps: inputs (N, T, size), initial states (N, size), real weights; gives
    outputs (N, T, size) and states after the last step. All but the weights, which are float64, are
    whole float32 numbers in units of their tensors."""

    @staticmethod
    def forward(
        ctx: Any, scan: Scan, latents: Sequence[Latent], keep: bool, *given: Torch
    ) -> tuple[Torch, ...]:
        program = scan.program
        count, states = len(program.inputs), len(program.states)
        arrays = [v.detach().numpy() for v in given]
        ctx.scan, ctx.latents, ctx.reals = scan, latents, arrays[count + states :]
        rounded = {
            (latent.operator, latent.part): latent.integers(real)
            for latent, real in zip(latents, ctx.reals, strict=True)
        }
        weights = weights_of(program, rounded)
        inputs = dict(zip(program.inputs, (_by_step(a) for a in arrays[:count]), strict=True))
        carried = {
            s.name: a.astype(np.float64)
            for s, a in zip(program.states, arrays[count : count + states], strict=True)
        }
        steps, streams = next(iter(inputs.values())).shape[:2]
        most = steps if keep else max(1, HELD // (scan.width * streams))
        pieces: list[list[Array]] = []
        tape: Tape | None = None
        for begin in range(0, steps, most):
            part = {name: value[begin : begin + most] for name, value in inputs.items()}
            tape = scan.run(part, carried, weights)
            carried = {s.name: tape.final(s) for s in program.states}
            pieces.append([tape.values[tensor] for tensor in program.outputs.values()])
        ctx.tape = tape if keep else None
        outputs = [
            np.concatenate(list(p)) if len(p) > 1 else p[0] for p in zip(*pieces, strict=True)
        ]
        return (
            *(
                torch.from_numpy(y.transpose(1, 0, 2).astype(np.float32, order="C"))
                for y in outputs
            ),
            *(torch.from_numpy(v.astype(np.float32)) for v in carried.values()),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *g: Torch | None) -> tuple[Any, ...]:
        scan, latents, tape = ctx.scan, ctx.latents, ctx.tape
        if tape is None:
            raise InputError("this forward pass was used for its gradient; run it once more")
        ctx.tape = None
        program, asked = scan.program, ctx.needs_input_grad[3:]
        reads, states = len(program.inputs), [s.name for s in program.states]
        of_inputs, of_states = asked[:reads], asked[reads : reads + len(states)]
        of_latents, returned = asked[reads + len(states) :], len(program.outputs)
        found = tape.gradients(
            [
                (tensor, _by_step(v.numpy()))
                for tensor, v in zip(program.outputs.values(), g[:returned], strict=True)
                if v is not None
            ],
            {n: v.numpy() for n, v in zip(states, g[returned:], strict=True) if v is not None},
            list(compress(program.inputs, of_inputs)),
            list(compress(states, of_states)),
            {latent.operator for latent in compress(latents, of_latents)},
        )
        result: list[Torch | None] = [
            _by_stream(found.inputs[name]) if needed else None
            for name, needed in zip(program.inputs, of_inputs, strict=True)
        ]
        result += [
            torch.from_numpy(found.states[name]) if needed else None
            for name, needed in zip(states, of_states, strict=True)
        ]
        for latent, real, needed in zip(latents, ctx.reals, of_latents, strict=True):
            of_weights = found.weights[latent.operator] if needed else None
            result.append(
                None
                if of_weights is None
                else torch.from_numpy(latent.gradient(real, of_weights[latent.part]))
            )
        return None, None, None, *result


def _by_step(value: NDArray[Any]) -> Array:
    """(N, T, size) to (T, N, size), float64."""
    turned: Array = value.transpose(1, 0, 2).astype(np.float64, order="C")
    return turned


def _by_stream(value: Float32) -> Torch:
    """(T, N, size) to (N, T, size)."""
    return torch.from_numpy(np.ascontiguousarray(value.transpose(1, 0, 2)))
