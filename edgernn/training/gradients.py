"""How far back a network's gradient reaches: |d loss_T / d h_(T-k)| for each time lag k.

Where it falls like a power of k the network cannot learn from what lies k steps back, where it
grows it learns from little else: Bengio et al. 1994, Learning Long-Term Dependencies with Gradient
Descent is Difficult; Pascanu et al. 2013, arXiv 1211.5063.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.nn.base import Recurrent
from edgernn.nn.operator import STEPS
from edgernn.runtime.errors import InputError
from edgernn.training.base import Recipe, Split
from edgernn.training.batches import collate
from edgernn.training.cells import MISSING, parse
from edgernn.training.initialize import initialize
from edgernn.training.layer_arrays import RecurrentLayer, cell_of, run_steps, suffixes
from edgernn.training.predict import as_tuple
from edgernn.training.run_folder import Run

STEPS_BACK: Final = 200
SEQUENCES: Final = 32
BESIDE: Final = ("rnn", "lstm", "gru")


@dataclass(frozen=True)
class Curve:
    """One network's gradient. norms: at lag 0, 1, ... K, relative to lag 0, each the median over
    sequences; 0 where not even a double holds it."""

    name: str
    trained: bool
    norms: NDArray[np.float64]

    @property
    def factor(self) -> float:
        """What a step multiplies the gradient by, the geometric mean over all lags: below 1 it
        vanishes, above 1 it explodes."""
        last = int(np.flatnonzero(self.norms > 0)[-1])
        return float(self.norms[last] ** (1 / last)) if last else 0.0

    @property
    def half_life(self) -> float:
        """Steps in which it halves at that rate; negative: in which it doubles; inf if neither."""
        if self.factor in (0.0, 1.0):
            return math.inf if self.factor else 0.0
        return math.log(0.5) / math.log(self.factor)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "trained": self.trained,
            "half_life_steps": self.half_life if math.isfinite(self.half_life) else None,
            "factor_per_step": self.factor,
            "norms": [float(n) for n in self.norms],
        }


def run_gradients(run: Run) -> list[Curve]:
    """The gradients of a run's network as trained and as it began, and beside it of a simple RNN,
    an LSTM and a GRU of the same size as they begin, on the same data."""
    recipe, layers = run.recipe, run.config.layers
    split = run.split("test" if "test" in run.scored else run.scored[0])
    trained = gradient_norms(run.network(), recipe, split)
    curves = [Curve(f"{layers.cell}({layers.hidden}), trained", True, trained)]
    for cell in dict.fromkeys([layers.cell, *_beside(layers.cell)]):
        torch.manual_seed(run.config.settings.seed)
        network = recipe.network(run.facts, replace(layers, cell=cell))
        initialize(network)
        _open(network)
        norms = gradient_norms(network, recipe, split)
        curves.append(Curve(f"{cell}({layers.hidden}) at the start", False, norms))
    return curves


def _open(network: nn.Module) -> None:
    """A head that starts at zero lets no gradient through before its first update; it is given
    Glorot's weights, the direction of which does not matter here."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and not bool(layer.weight.any()):
            nn.init.xavier_uniform_(layer.weight)


def _beside(name: str) -> list[str]:
    """The cells to compare with, with the same things in front and behind."""
    found = parse(name)
    if found.kind == MISSING:
        # What reads three inputs cannot be replaced by what reads one.
        return []
    before = ("conv+" if found.conv else "") + ("bi" if found.both else "")
    fusion = found.fusion if not found.both or found.fusion != "concat" else ""
    return [f"{before}{cell}{f':{fusion}' if fusion else ''}" for cell in BESIDE]


def gradient_norms(network: nn.Module, recipe: Recipe, split: Split) -> NDArray[np.float64]:
    """|d loss / d state k steps before the end|, (K + 1,), relative to k = 0, the state that the
    last step leaves.

    The loss is the recipe's, of the answer at the last step that has one. The state is all that the
    recurrent layers carry, of an LSTM h and c, of several layers all of them; of what reads
    backwards, the end is the first step. Computed in float64 on up to 32 pieces of equal length,
    of 200 steps at most. InputError if no layer of the network steps as the data do.
    """
    network = copy.deepcopy(network).double().eval()
    before = torch.get_default_dtype()
    # Constants that a network makes as it runs are of this type.
    torch.set_default_dtype(torch.float64)
    try:
        norms = _norms(network, recipe, split)
    finally:
        torch.set_default_dtype(before)
    norms = norms[:, norms[0] > 0]
    if not norms.shape[1]:
        raise InputError(
            "the loss does not depend on the state in any of the sequences, so there is no "
            "gradient to follow"
        )
    result: NDArray[np.float64] = np.median(norms / norms[0], axis=1)
    return result


def _norms(network: nn.Module, recipe: Recipe, split: Split) -> NDArray[np.float64]:
    """(K + 1, N) up to the last step that has a loss, not yet relative."""
    pieces = _pieces(split, once=_outputs(network, collate(split, [0]), split, 2)[0].dim() == 2)
    batch = {
        k: v.double() if v.is_floating_point() else v
        for k, v in collate(pieces, range(len(pieces))).items()
    }
    tracks = _record(network)
    outputs = _outputs(network, batch, split)
    total = int(batch["lengths"][0])
    sides = [[t for t in tracks if t.backwards == b and len(t.states) == total + 1] for b in (0, 1)]
    if not any(sides):
        raise InputError(
            "the network has no recurrent layer that steps as the data do, so there is no gradient "
            "to follow through time"
        )
    # What is to come after the last step may not be known: then an earlier one has a loss.
    for before in [b for b in (0, *(1 << k for k in range(16))) if b < total]:
        squares = []
        for backwards, side in enumerate(sides):
            if side:
                step = before if backwards else total - 1 - before
                loss = _loss_at(outputs, batch, pieces, recipe, step)
                squares.append(_squared_norms(loss, side, total - before))
        norms: NDArray[np.float64] = torch.stack(squares).sum(0).sqrt().numpy()
        if norms[0].any():
            break
    return norms


def _outputs(
    network: nn.Module, batch: dict[str, Tensor], split: Split, steps: int | None = None
) -> tuple[Tensor, ...]:
    inputs = [batch[name][:, :steps] for name in split.inputs]
    return as_tuple(network(*(x.double() if x.is_floating_point() else x for x in inputs)))


def _pieces(split: Split, once: bool) -> Split:
    """Pieces of equal length; the ends of sequences, if there is one answer for each."""
    lengths = split.lengths
    length = max(int(min(STEPS_BACK, np.median(lengths))), 1)
    places = []
    for i in np.flatnonzero(lengths >= length).tolist():
        ends = range(int(lengths[i]), length - 1, -length)
        places += [(i, end - length, end) for end in (ends[:1] if once else ends)]
    chosen = np.unique(np.linspace(0, len(places) - 1, SEQUENCES).round().astype(int))
    arrays = {
        name: [
            rows[i][b:e] if name in split.steps else rows[i]
            for i, b, e in (places[c] for c in chosen)
        ]
        for name, rows in split.arrays.items()
    }
    return Split(arrays, split.inputs, split.steps)


def _loss_at(
    outputs: tuple[Tensor, ...],
    batch: dict[str, Tensor],
    split: Split,
    recipe: Recipe,
    step: int,
) -> Tensor:
    """The recipe's loss of one step, as if it were a sequence; of a network that answers once, the
    loss."""
    if outputs[0].dim() == 2:
        return recipe.loss(outputs, batch)
    one = slice(step, step + 1)
    cut = {k: v[:, one] if k in (*split.steps, "mask") else v for k, v in batch.items()}
    cut["lengths"] = torch.ones_like(batch["lengths"])
    return recipe.loss(tuple(o[:, one] for o in outputs), cut)


@dataclass(frozen=True)
class _Track:
    """A layer in one direction. states: before each step, in the order of its steps, and after the
    last one; each a list of what is carried, (N, S)."""

    backwards: bool
    states: list[list[Tensor]]


def _squared_norms(loss: Tensor, tracks: list[_Track], total: int) -> Tensor:
    """(K + 1, N): of the gradient for all that these layers carry, lag by lag."""
    each = [[s for t in tracks for s in t.states[total - lag]] for lag in range(total + 1)]
    found = torch.autograd.grad(
        loss, [s for states in each for s in states], retain_graph=True, allow_unused=True
    )
    nothing = torch.zeros(len(each[0][0]), dtype=torch.float64)
    squares = torch.stack([nothing if g is None else g.square().sum(-1) for g in found])
    return squares.reshape(total + 1, len(each[0]), -1).sum(1)


def _record(network: nn.Module) -> list[_Track]:
    """Have the recurrent layers of a network note their states, in a list that fills as it runs."""
    tracks: list[_Track] = []
    for layer in network.modules():
        if isinstance(layer, (nn.RNNBase, Recurrent)):
            # An instance's own forward goes before that of its class.
            layer.forward = partial(_noting, layer, tracks)  # type: ignore[method-assign]
    return tracks


def _noting(
    layer: RecurrentLayer, tracks: list[_Track], x: Tensor, *more: Any, **options: Any
) -> tuple[Tensor, Any]:
    """layer(x, ...), whose states become part of `tracks`."""
    if not isinstance(x, Tensor):
        raise InputError("gradients are followed through padded sequences, not through packed ones")
    cell = cell_of(layer)
    noted: list[list[list[Tensor]]] = []
    carried = [cell.outputs.index(name) for name in cell.states]
    # GRU-D also remembers its input, which is no memory that it learns.
    counted = [n for n, i in enumerate(carried) if cell.sizes[i] != "input"]
    step = STEPS[cell.kind]

    def noting(w: Any, inputs: Any, states: list[Tensor], numbers: Any) -> list[Tensor]:
        states = [s if s.requires_grad else s.detach().requires_grad_() for s in states]
        # Apart from how they were made: an LSTM makes h of c, a step later they are two.
        results = [r.view_as(r) for r in step(w, inputs, states, numbers)]
        after = [results[i] for i in carried]
        noted.append([[pair[n] for n in counted] for pair in (states, after)])
        return results

    STEPS[cell.kind] = noting
    try:
        if isinstance(layer, Recurrent):
            result = type(layer).forward(layer, x, *more, **options)
        else:
            result = run_steps(layer, [x], *more, **options)
    finally:
        STEPS[cell.kind] = step
    rows = len(suffixes(layer))
    each = len(noted) // rows
    for row in range(rows):
        mine = noted[row * each : (row + 1) * each]
        states = [before for before, _ in mine] + [mine[-1][1]]
        tracks.append(_Track(layer.bidirectional and row % 2 == 1, states))
    return result
