"""A quantized program as a torch module that learns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor as Torch
from torch import nn

from edgernn.attribution.meaning import meanings_of
from edgernn.float_file import FloatModel
from edgernn.qat.autograd import Quantize, StageScan
from edgernn.qat.latents import Latent, changed, latents_of, operators_with
from edgernn.qat.scan import Scan
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.tokens import token_limits
from edgernn.runtime.window import Source, Stage, Window

METHOD: Final = "straight-through"
States = Mapping[str, Torch]
"""State -> (1, N, size) float32, whole numbers in units of the state's tensor."""


class IntegerNetwork(nn.Module):
    """The integer program as a module: see `edgernn.qat`.

    program: of a step or of a window. model: the float network that it was made from, which says
    what learns and from which real numbers; by default the one that a program from
    `edgernn.quantize` carries. Without one, every weight of the program learns, from its integer.

    `latents` holds the parameters, float64, in the units of the float network: for a product
    `<stage>_<operator>_weight` (rows, K) and, unless the network has none, `..._bias` (rows,); for
    an embedding `..._table` (V, D). It computes on the CPU.
    """

    def __init__(self, program: Program | Window, model: FloatModel | None = None) -> None:
        super().__init__()
        self._original = program
        model = getattr(program, "float_model", None) if model is None else model
        self._masks = () if model is None else model.graph.masks
        stages = _stages(program)
        meanings = [None] * len(stages) if model is None else meanings_of(program, model)
        self._scans = [Scan(stage.program) for stage in stages]
        self._latents: list[list[Latent]] = []
        self.latents = nn.ParameterDict()
        for number, (stage, meaning) in enumerate(zip(stages, meanings, strict=True)):
            self._latents.append(latents_of(stage.program, meaning))
            for latent in self._latents[-1]:
                self.latents[_key(number, latent)] = nn.Parameter(torch.tensor(latent.start))
        if isinstance(program, Window):
            self._inputs, self._ids = program.inputs, dict[str, Any]()
            tensors = program.tensors()
            self._scales = {n: float(tensors[s.value].scale) for n, s in program.outputs.items()}
        else:
            self._inputs = tuple(program.tensors[name] for name in program.inputs)
            self._ids = dict(token_limits(program))
            self._scales = {n: float(program.tensors[t].scale) for n, t in program.outputs.items()}

    @property
    def streams(self) -> bool:
        """Whether it has states to go on from, and is no window program."""
        return not isinstance(self._original, Window)

    def forward(self, *x: Torch, lengths: Torch | None = None) -> Any:
        """What the runtime of `program()` returns, bit for bit: scale times int16, float32.

        x: one array for each input of the program, (N, T, F), or (N, T) where F is 1. lengths:
        (N,), how many steps of each sequence count; the rest is padding. Where the program has
        masks as inputs they may be left out: all steps then count, or as many as `lengths` says.

        Returns (N, T, O) for an output of every step, (N, O) for one of the last step that counts,
        as the float network did; a tuple if there are several. A program that streams runs on over
        padding. A window program reads each sequence to its own end and returns zeros behind it,
        unless masks tell it where that is.
        """
        given, masked = self._given(x, lengths)
        if self.streams:
            return self._returned(self._scan(0, given, None)[0], lengths)
        return self._returned(self._windows(given, None if masked else lengths), None)

    def run(
        self, *x: Torch, lengths: Torch | None = None, state: States | None = None
    ) -> tuple[Any, dict[str, Torch]]:
        """`forward` of a program that streams, and its states after step T, to go on from.

        state: what the call before returned, detached where the gradient shall end (truncated
        BPTT); None for the initial state.
        """
        if not self.streams:
            raise InputError("a window program has no state to go on from; call it as a whole")
        values, after = self._scan(0, self._given(x, lengths)[0], state)
        return self._returned(values, lengths), after

    def program(self) -> Any:
        """The program with the parameters rounded, of the type that this was made from. Its
        metadata say under `fine_tuning` how many of the weights changed."""
        found, count = [], 0
        stages = _stages(self._original)
        for number, stage in enumerate(stages):
            rounded = {
                (v.operator, v.part): v.integers(self._real(number, v))
                for v in self._latents[number]
            }
            operators = operators_with(stage.program, rounded)
            count += changed(stage.program, operators)
            found.append(replace(stage, program=replace(stage.program, operators=operators)))
        original = self._original
        metadata = {
            **original.metadata,
            "fine_tuning": {
                "method": METHOD,
                "weights": original.weight_count,
                "changed": count,
            },
        }
        if isinstance(original, Window):
            return replace(original, stages=tuple(found), metadata=metadata)
        return replace(original, operators=found[0].program.operators, metadata=metadata)

    def __deepcopy__(self, memo: dict[int, Any]) -> IntegerNetwork:
        # Programs never change, and need not be copied.
        memo |= {id(v): v for v in (self._original, self._scans, self._latents)}
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def extra_repr(self) -> str:
        """Sizes, for print()."""
        parts = [f"{t.name} ({t.size})" for t in self._inputs]
        return f"{', '.join(parts)} -> {', '.join(self._original.outputs)}"

    # -- inside ---------------------------------------------------------------------------------

    def _real(self, number: int, latent: Latent) -> Any:
        return self.latents[_key(number, latent)].detach().double().cpu().numpy()

    def _given(self, x: tuple[Torch, ...], lengths: Torch | None) -> tuple[dict[str, Torch], bool]:
        """Input -> (N, T, size) in units, and whether masks made here say where padding is."""
        masked = len(x) == len(self._inputs) - len(self._masks) and bool(self._masks)
        read = [t for t in self._inputs if not masked or t.name not in self._masks]
        if len(x) != len(read):
            raise InputError(f"this program has {len(read)} inputs, and {len(x)} were given")
        found: dict[str, Torch] = {}
        for value, tensor in zip(x, read, strict=True):
            value = value[..., None] if tensor.size == 1 and value.dim() == 2 else value
            if value.dim() != 3 or value.shape[2] != tensor.size or 0 in value.shape:
                raise InputError(
                    f"{tensor.name} is (N, T, {tensor.size}), not {tuple(value.shape)}"
                )
            found[tensor.name] = value
        shapes = {tuple(value.shape[:2]) for value in found.values()}
        if len(shapes) != 1:
            raise InputError(f"the inputs have different shapes (N, T): {sorted(shapes)}")
        ((streams, steps),) = shapes
        valid: Torch | None = None
        if lengths is not None:
            if (
                lengths.is_floating_point()
                or lengths.shape != (streams,)
                or not bool(((lengths > 0) & (lengths <= steps)).all())
            ):
                raise InputError(f"lengths are ({streams},) whole numbers from 1 to {steps}")
            valid = torch.arange(steps)[None] < lengths[:, None]
        if masked:
            # Where padding begins it becomes 0, as all inputs do.
            found |= dict.fromkeys(self._masks, torch.ones(streams, steps, 1))
        units = {}
        for tensor in self._inputs:
            value = found[tensor.name]
            if valid is not None:
                # Padding may be anything, NaN too.
                value = torch.where(valid[..., None], value, torch.zeros((), dtype=value.dtype))
            units[tensor.name] = self._units(value, tensor)
        return units, masked

    def _units(self, value: Torch, tensor: Tensor) -> Torch:
        if value.device.type != "cpu" or any(p.device.type != "cpu" for p in self.parameters()):
            raise InputError("an integer network computes on the CPU; move it and its data there")
        units: Torch = Quantize.apply(value, tensor, self._ids.get(tensor.name))  # type: ignore[no-untyped-call]
        return units

    def _windows(self, given: dict[str, Torch], lengths: Torch | None) -> dict[str, Torch]:
        """Each sequence to its own end, those of one length together."""
        if lengths is None:
            return self._window(given, None)
        order, pieces = list[Torch](), list[dict[str, Torch]]()
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero()[:, 0]
            pieces.append(self._window({n: v[rows] for n, v in given.items()}, length))
            order.append(rows)
        back = torch.cat(order).argsort()
        return {name: torch.cat([p[name] for p in pieces])[back] for name in pieces[0]}

    def _window(self, given: dict[str, Torch], length: int | None) -> dict[str, Torch]:
        """length: of all sequences; outputs are padded to the steps that were given."""
        window: Any = self._original
        steps = next(iter(given.values())).shape[1]
        length = steps if length is None else length
        values = {name: value[:, :length] for name, value in given.items()}
        for number, stage in enumerate(window.stages):
            inputs = {name: _picked(values, source) for name, source in stage.sources.items()}
            turn: Callable[[Torch], Torch] = _unturned
            if stage.direction == "once":
                inputs = {name: value[:, None] for name, value in inputs.items()}
            elif stage.direction == "reverse":
                turn = _turned
            results, _ = self._scan(number, {n: turn(v) for n, v in inputs.items()}, None)
            for name, value in results.items():
                values[name] = value[:, 0] if stage.direction == "once" else turn(value)
        found = {name: _picked(values, source) for name, source in window.outputs.items()}
        return {
            name: nn.functional.pad(v, (0, 0, 0, steps - length)) if v.dim() == 3 else v
            for name, v in found.items()
        }

    def _scan(
        self, number: int, given: Mapping[str, Torch], states: States | None
    ) -> tuple[dict[str, Torch], dict[str, Torch]]:
        """One stage over all steps, in units."""
        scan, latents = self._scans[number], self._latents[number]
        program, streams = scan.program, next(iter(given.values())).shape[0]
        start = {s.name: torch.from_numpy(s.initial.astype(np.float32)) for s in program.states}
        carried = {name: value.expand(streams, -1) for name, value in start.items()}
        if states is not None:
            wanted = {name: (1, *value.shape) for name, value in carried.items()}
            got = {name: tuple(value.shape) for name, value in states.items()}
            if got != wanted:
                raise InputError(f"this program's states are {wanted}, not {got}")
            carried = {name: states[name][0] for name in carried}
        tensors = [
            *(given[name] for name in program.inputs),
            *carried.values(),
            *(self.latents[_key(number, latent)] for latent in latents),
        ]
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        results = StageScan.apply(scan, latents, keep, *tensors)  # type: ignore[no-untyped-call]
        outputs = dict(zip(program.outputs, results, strict=False))
        after = results[len(program.outputs) :]
        return outputs, {name: v[None] for name, v in zip(carried, after, strict=True)}

    def _returned(self, values: dict[str, Torch], lengths: Torch | None) -> Any:
        """What the caller gets of outputs in units."""
        last = set(self._original.metadata.get("last", ())) if self.streams else set()
        found = tuple(
            (_ending(value, lengths) if name in last else value) * self._scales[name]
            for name, value in values.items()
        )
        return found[0] if len(found) == 1 else found


def _stages(program: Program | Window) -> tuple[Stage, ...]:
    if isinstance(program, Window):
        return program.stages
    return (Stage(program, "forward", {}),)


def _key(number: int, latent: Latent) -> str:
    return f"{number}_{latent.operator}_{latent.part}"


def _ending(value: Torch, lengths: Torch | None) -> Torch:
    if lengths is None:
        return value[:, -1]
    return value[torch.arange(len(value)), lengths.long() - 1]


def _picked(values: Mapping[str, Torch], source: Source) -> Torch:
    value = values[source.value]
    if source.at == "step":
        return value
    return value[:, 0] if source.at == "first" else value[:, -1]


def _turned(value: Torch) -> Torch:
    return value.flip(1)


def _unturned(value: Torch) -> Torch:
    return value
