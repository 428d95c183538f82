"""Calibration: run the float network on data and learn how far and how each value varies.

Memory is bounded by one batch: sequences are taken in groups of equal length, long ones in pieces
that hand their state on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from edgernn.cells import CELLS
from edgernn.float_engine import run_float
from edgernn.graph import FloatArray, Graph
from edgernn.progress import Progress
from edgernn.ranges import Ranges
from edgernn.rounding import Moments
from edgernn.runtime.errors import InputError
from edgernn.runtime.tokens import refuse_unknown_ids

Method = Literal["minmax", "percentile", "mse"]
METHODS: Final[tuple[Method, ...]] = ("minmax", "percentile", "mse")
PERCENTILE: Final = 99.99
BATCH: Final = 64
PIECE: Final = 512
_BINS: Final = 4096
_LEVELS: Final = 32767

Sequences = list[dict[str, FloatArray]]
Tokens = Mapping[str, NDArray[np.int64]]


def as_sequences(graph: Graph, data: Any, tokens: Tokens | None = None) -> Sequences:
    """Calibration data as a list of sequences, each input name -> (T, F) float32.

    data, for one input: an array (N, T, F) or (T, F), or a list of (T_i, F). For several: a tuple
    or a mapping by name of such. A mask may be left out: nothing is padding then. Token ids are
    whole numbers within the table, (N, T) or a list of (T_i,), or with a last axis of one.
    tokens: as `Graph.tokens`, where the graph has no nodes that say so. InputError for anything
    else, for NaN and infinity, and for none.
    """
    tokens = graph.tokens if tokens is None else tokens
    inputs = graph.inputs
    named = [name for name in inputs if name not in graph.masks]
    whole = len(data) if isinstance(data, (tuple, Mapping)) else 1
    if isinstance(data, Mapping):
        whole = -1 if any(name in data for name in graph.masks) else len(named)
    if graph.masks and whole == len(named):
        sequences = as_sequences(_unmasked(graph), data, tokens)
        for sequence in sequences:
            steps = len(sequence[named[0]])
            sequence.update((name, np.ones((steps, 1), np.float32)) for name in graph.masks)
        return sequences
    if isinstance(data, Mapping):
        missing = [name for name in graph.inputs if name not in data]
        if missing:
            raise InputError(f"calibration data has no {missing[0]!r}; it has {sorted(data)}")
        columns = [data[name] for name in graph.inputs]
    elif isinstance(data, tuple) and len(graph.inputs) > 1:
        columns = list(data)
    else:
        columns = [data]
    if len(columns) != len(graph.inputs):
        raise InputError(
            f"the model has {len(graph.inputs)} inputs; calibrate with a tuple of as many arrays"
        )
    per_input = [
        _checked(name, graph.sizes[name], values, tokens.get(name))
        for name, values in zip(graph.inputs, columns, strict=True)
    ]
    lengths = [[len(s) for s in sequences] for sequences in per_input]
    if any(other != lengths[0] for other in lengths):
        raise InputError("the calibration inputs differ in their number of sequences or steps")
    return [dict(zip(graph.inputs, parts, strict=True)) for parts in zip(*per_input, strict=True)]


def _unmasked(graph: Graph) -> Graph:
    """The graph as one that has no masks, as far as its inputs are concerned."""
    inputs = tuple(name for name in graph.inputs if name not in graph.masks)
    return replace(graph, inputs=inputs, nodes=())


def _checked(
    name: str, features: int, values: Any, limits: NDArray[np.int64] | None
) -> list[FloatArray]:
    try:
        if limits is not None and features == 1:
            values = _with_features(values)
        if not isinstance(values, Sequence):
            values = array if (array := np.asarray(values)).ndim == 3 else array[None]
        items = [np.asarray(v) for v in values]
    except (TypeError, ValueError, RuntimeError):
        # RuntimeError: a torch tensor that requires grad.
        raise InputError(
            f"calibration data for {name} is not an array of numbers; of a torch tensor pass "
            "x.detach().numpy()"
        ) from None
    sequences = []
    for i, item in enumerate(items):
        if item.dtype.kind not in "fiub" or item.ndim != 2 or item.shape[1] != features:
            raise InputError(
                f"calibration sequence {i} of {name} is {item.dtype}{item.shape}; "
                f"the model reads (T, {features}) numbers"
            )
        with np.errstate(over="ignore"):
            sequence = item.astype(np.float32)
        bad = np.argwhere(~np.isfinite(sequence))
        if len(bad):
            t, f = bad[0]
            raise InputError(
                f"calibration data for {name} holds {sequence[t, f]} at sequence {i}, step {t}, "
                f"feature {f}; remove or fill such values first"
            )
        if limits is not None:
            refuse_unknown_ids(f"calibration sequence {i} of {name}", item, limits)
        if len(sequence):
            sequences.append(sequence)
    if not sequences:
        raise InputError(f"the calibration data for {name} is empty; give at least one sequence")
    return sequences


def _with_features(values: Any) -> Any:
    """Ids (N, T), or a list of (T_i,), with a last axis of one."""
    if isinstance(values, Sequence):
        return [v[:, None] if (v := np.asarray(item)).ndim == 1 else v for item in values]
    array = np.asarray(values)
    return array[..., None] if array.ndim == 2 else array


def calibrate(
    graph: Graph, sequences: Sequences, method: Method = "minmax", progress: Progress | None = None
) -> Ranges:
    """Run the float network over the sequences and summarise every value.

    method: how an amplitude is chosen. `minmax` covers every value seen, `percentile` 99.99 % of
    them, `mse` minimises the mean squared error of clipping and rounding to int16.
    progress: called with (steps done, steps in all).
    """
    if method not in METHODS:
        raise InputError(f"calibration method {method!r} is none of {', '.join(METHODS)}")
    read = {n for node in graph.nodes for n in node.inputs if node.kind in (*CELLS, "linear")}
    for node in graph.nodes:
        if node.kind in CELLS:
            read |= {node.name, *(f"{node.name}.{part}" for part in CELLS[node.kind].products)}
    passes = 1 if method == "minmax" else 2
    total = passes * sum(len(next(iter(s.values()))) for s in sequences)
    done = 0

    def observe_all(observe: Callable[[str, NDArray[Any]], None]) -> None:
        nonlocal done
        for batch in _batches(sequences):
            states: Mapping[str, FloatArray] | None = None
            length = next(iter(batch.values())).shape[1]
            # What reads backwards must see the end first.
            longest = length if graph.is_window else PIECE
            for begin in range(0, length, longest):
                piece = {name: v[:, begin : begin + longest] for name, v in batch.items()}
                _, states = run_float(graph, piece, states, observe)
                done += int(np.prod(next(iter(piece.values())).shape[:2]))
                if progress:
                    progress(done, total)

    summaries: dict[str, _Summary] = {}

    def summarise(name: str, values: NDArray[Any]) -> None:
        summaries.setdefault(name, _Summary(name in read)).add(values)

    observe_all(summarise)
    amplitudes = {name: s.largest for name, s in summaries.items()}
    bad = [name for name, a in amplitudes.items() if not np.isfinite(a)]
    if bad:
        raise InputError(f"the float model overflows at {bad[0]} on the calibration data")
    if method != "minmax":
        histograms = {name: np.zeros(_BINS) for name in summaries}

        def count(name: str, values: NDArray[Any]) -> None:
            top = amplitudes[name] or 1.0
            histograms[name] += np.histogram(np.abs(values), bins=_BINS, range=(0.0, top))[0]

        observe_all(count)
        choose = _percentile if method == "percentile" else _least_squares
        amplitudes = {n: choose(histograms[n], amplitudes[n]) for n in amplitudes}
    second = {name: s.moments() for name, s in summaries.items() if s.wants_moments}
    return Ranges(amplitudes, second)


def _batches(sequences: Sequences) -> Iterator[dict[str, FloatArray]]:
    """Sequences of equal length stacked, (N, T, F) per input, at most BATCH at a time."""
    by_length: dict[int, list[int]] = {}
    for i, sequence in enumerate(sequences):
        by_length.setdefault(len(next(iter(sequence.values()))), []).append(i)
    for indices in by_length.values():
        for begin in range(0, len(indices), BATCH):
            group = [sequences[i] for i in indices[begin : begin + BATCH]]
            yield {name: np.stack([s[name] for s in group]) for name in group[0]}


@dataclass
class _Summary:
    """Running maximum, and sums for mean and covariance where a product reads the value."""

    wants_moments: bool
    largest: float = 0.0
    count: int = 0
    total: NDArray[np.float64] | None = None
    squares: NDArray[np.float64] | None = field(default=None)

    def add(self, values: NDArray[Any]) -> None:
        self.largest = max(self.largest, float(np.abs(values).max()))
        if not self.wants_moments:
            return
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if self.total is None or self.squares is None:
            self.total = np.zeros(flat.shape[1])
            self.squares = np.zeros((flat.shape[1], flat.shape[1]))
        self.count += len(flat)
        self.total += flat.sum(axis=0)
        self.squares += flat.T @ flat

    def moments(self) -> Moments:
        total, squares = cast(Any, self.total), cast(Any, self.squares)
        mean = total / self.count
        return Moments(mean, squares / self.count - np.outer(mean, mean))


def _percentile(histogram: NDArray[np.float64], largest: float) -> float:
    share = np.cumsum(histogram) / histogram.sum()
    return float(largest * (np.searchsorted(share, PERCENTILE / 100.0) + 1) / _BINS)


def _least_squares(histogram: NDArray[np.float64], largest: float) -> float:
    centres = (np.arange(_BINS) + 0.5) * largest / _BINS
    # Scales are powers of two apart, so are the candidates worth trying.
    candidates = largest * 2.0 ** -np.arange(8.0)
    errors = [
        float(histogram @ (np.maximum(centres - a, 0.0) ** 2 + (a / _LEVELS) ** 2 / 12.0))
        for a in candidates
    ]
    return float(candidates[int(np.argmin(errors))])
