"""Arrays in .npy and .npz files; never pickled objects."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.file import write_atomically
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

if TYPE_CHECKING:
    from edgernn.graph import FloatArray, Graph


def load_arrays(spec: str) -> dict[str, NDArray[Any]]:
    """All arrays of FILE, or those of FILE:KEY[,KEY...]; a .npy has one, called `x`.

    InputError if the file is not there, not an array file, or has no such key.
    """
    path, keys = _spec(spec)
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            names = keys or loaded.files
            missing = [k for k in names if k not in loaded.files]
            if missing:
                raise InputError(f"{path} has no array {missing[0]!r}; it has {loaded.files}")
            return {name: loaded[name] for name in names}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:
        # A damaged or foreign file raises what zipfile, zlib and numpy please.
        raise InputError(f"{path} is not a sound .npy or .npz file: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """What NumPy found, without its advice to unpickle."""
    said = str(error)
    if "Object arrays" in said:
        return "it holds Python objects, which are never unpickled"
    return (
        "it is no array file" if "pickle" in said else said.splitlines()[0] if said else "damaged"
    )


def _spec(spec: str) -> tuple[Path, list[str]]:
    if ":" in spec and not Path(spec).exists():
        path, _, keys = spec.rpartition(":")
        return Path(path), [k for k in keys.split(",") if k]
    return Path(spec), []


def load_array(spec: str) -> NDArray[Any]:
    """The one array of a file; InputError if there are several."""
    arrays = load_arrays(spec)
    if len(arrays) != 1:
        raise InputError(f"{spec} holds {sorted(arrays)}; name one, {_spec(spec)[0]}:KEY")
    return next(iter(arrays.values()))


def load_example(spec: str, count: int = 0) -> tuple[Any, ...]:
    """The first steps of the first sequences in a file, as torch tensors, for torch.export.

    Cut short, because torch.export takes long over long sequences. count: of the inputs that the
    model needs; `lengths` (N,) are the last of them, if there is one more than data.
    """
    import torch

    arrays = load_arrays(spec)
    lengths = arrays.pop("lengths", None) if len(arrays) > 1 else None
    names = [n for n in ("x", *(f"x{i}" for i in range(len(arrays)))) if n in arrays]
    chosen = [arrays[n] for n in names] or list(arrays.values())
    ids = [a.ndim == 2 and a.dtype.kind in "iu" for a in chosen]
    sound = [a.ndim == 3 and a.dtype.kind in "fiub" for a in chosen]
    if not all(a.size and (i or s) for a, i, s in zip(chosen, ids, sound, strict=True)):
        raise InputError(
            f"an example input in {spec} is not numbers of shape (N, T, F), or ids (N, T)"
        )
    dtypes = [np.int64 if i else np.float32 for i in ids]
    parts = [np.array(a[:2, :16], d) for a, d in zip(chosen, dtypes, strict=True)]
    if lengths is not None and lengths.dtype.kind in "iu" and count == len(parts) + 1:
        parts.append(np.clip(lengths[:2], 1, parts[0].shape[1]).astype(np.int64))
    return tuple(torch.from_numpy(part) for part in parts)


def load_calibration(spec: str, graph: Graph) -> dict[str, Any]:
    """Calibration data for a graph: its inputs by name, or the file's only array.

    An array `lengths` (N,) of integers gives the valid steps of padded sequences.
    """
    arrays = load_arrays(spec)
    lengths = arrays.pop("lengths", None) if len(arrays) > 1 else None
    # A mask may be left out.
    inputs = [name for name in graph.inputs if name in arrays or name not in graph.masks]
    if len(inputs) == 1 and len(arrays) == 1:
        arrays = {inputs[0]: next(iter(arrays.values()))}
    missing = [name for name in inputs if name not in arrays]
    if missing:
        raise InputError(
            f"{spec} has no array {missing[0]!r}, but {sorted(arrays)}; "
            f"name the right one: {_spec(spec)[0]}:KEY"
        )
    chosen: dict[str, Any] = {name: arrays[name] for name in inputs}
    if lengths is None:
        return chosen
    return {name: _cut(name, array, lengths) for name, array in chosen.items()}


def _cut(name: str, array: NDArray[Any], lengths: NDArray[Any]) -> list[NDArray[Any]]:
    sound = (
        (array.ndim == 3 or (array.ndim == 2 and array.dtype.kind in "iu"))
        and lengths.shape == array.shape[:1]
        and lengths.dtype.kind in "iu"
        and bool((lengths >= 0).all() and (lengths <= array.shape[1]).all())
    )
    if not sound:
        raise InputError(f"`lengths` does not give the valid steps of each sequence of {name}")
    return [sequence[:n] for sequence, n in zip(array, lengths, strict=True)]


def load_sequences(
    spec: str, program: Program | Window, graph: Graph | None = None
) -> list[dict[str, FloatArray]]:
    """Sequences for a program from a file, as `load_calibration` finds them.

    graph: its float network, if it is there; only that says which input is a mask and may be left
    out, in favour of `lengths` or of nothing.
    """
    from edgernn.calibrate import as_sequences
    from edgernn.graph import Graph

    if graph is not None:
        return as_sequences(graph, load_calibration(spec, graph))
    sizes = (
        {tensor.name: tensor.size for tensor in program.inputs}
        if isinstance(program, Window)
        else {name: program.tensors[name].size for name in program.inputs}
    )
    inputs = Graph(sizes, tuple(sizes), (), ())
    return as_sequences(inputs, load_calibration(spec, inputs), _tokens(program))


def _tokens(program: Program | Window) -> dict[str, NDArray[np.int64]]:
    """Inputs of token ids, as `Graph.tokens` has them."""
    from edgernn.runtime.tokens import token_limits

    if isinstance(program, Program):
        return token_limits(program)
    found: dict[str, NDArray[np.int64]] = {}
    for stage in program.stages:
        for name, limits in token_limits(stage.program).items():
            source = stage.sources[name].value
            # 0 says nothing; of two tables the smaller one counts.
            old = found.get(source, np.zeros_like(limits))
            both = np.where(old == 0, limits, np.where(limits == 0, old, np.minimum(old, limits)))
            found[source] = both
    return found


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one array as .npy or several as .npz; whole or not at all."""
    stream = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    elif len(arrays) == 1:
        np.save(stream, next(iter(arrays.values())), allow_pickle=False)
    else:
        raise InputError(f"the program has the outputs {sorted(arrays)}; write them to a .npz file")
    write_atomically(path, stream.getvalue())
