"""The folder that a training leaves: what was trained, on what, how well, and how to go on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgernn.placing import put_in_place
from edgernn.recipes.registry import RECIPES, load_recipe
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.training.base import Config, Dataset, Recipe, Split
from edgernn.training.batches import padded
from edgernn.version import __version__

CONFIG: Final = "config.json"
FACTS: Final = "facts.json"
WEIGHTS: Final = "model.safetensors"
METRICS: Final = "metrics.json"
CURVES: Final = "curves.svg"
CARD: Final = "README.md"
FINETUNED: Final = "finetuned"
CHECKPOINTS: Final = "checkpoints"
CALIBRATION: Final = "calib"
CALIBRATION_VALUES: Final = 1 << 21
CALIBRATION_STEPS: Final = 4096
"""Of one sequence, at most: a stream is calibrated on pieces of it."""


@dataclass(frozen=True)
class Run:
    """A run folder that was read. facts: as in Dataset. data: name, source, split, sha256."""

    folder: Path
    config: Config
    facts: dict[str, Any]
    data: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe that made it."""
        return load_recipe(self.config.recipe)

    def network(self) -> nn.Module:
        """The trained float network, in evaluation mode."""
        from safetensors.torch import load

        network = self.recipe.network(self.facts, self.config.layers)
        path = self.folder / WEIGHTS
        try:
            network.load_state_dict(load(path.read_bytes()))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from None
        except Exception as error:
            # safetensors and torch each have errors of their own.
            reason = str(error).splitlines()[0]
            raise FileFormatError(f"{path} does not hold the network's weights: {reason}") from None
        return network.eval()

    def split(self, name: str) -> Split:
        """A split that was kept: val, test and what else was scored, or `calib`."""
        path = self.folder / "data" / f"{name}.npz"
        return split_from_bytes(path, tuple(self.facts["inputs"]), tuple(self.facts["steps"]))

    @property
    def scored(self) -> list[str]:
        """Names of the splits that were scored."""
        return list(self.facts["splits"])


def example_of(split: Split) -> tuple[torch.Tensor, ...]:
    """The first steps of two sequences, for import."""
    steps = min(16, int(split.lengths.min()))
    parts = []
    for name in split.inputs:
        rows = split.arrays[name]
        parts.append(np.stack([rows[i % len(rows)][:steps] for i in range(2)]))
    return tuple(torch.from_numpy(part) for part in parts)


def read_run(folder: Path) -> Run:
    """Read a run folder; InputError or FileFormatError if it is none, or damaged."""
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} has no {CONFIG}, so it is no finished run; make one with edgernn train"
        )
    described = _read_json(folder / CONFIG)
    config = Config.from_json(described, str(folder / CONFIG))
    if config.recipe not in RECIPES:
        raise InputError(f"{folder / CONFIG}: there is no recipe {config.recipe!r}")
    facts = _read_json(folder / FACTS)
    missing = [key for key in ("features", "inputs", "steps", "splits") if key not in facts]
    if missing:
        raise FileFormatError(f"{folder / FACTS} lacks {missing[0]!r}; train again")
    return Run(folder, config, facts, dict(described.get("data", {})))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise FileFormatError(f"{path} is damaged: no object")
    return found


def calibration_split(split: Split, seed: int) -> Split:
    """Some training sequences, chosen by the seed; pieces of what is long."""
    generator = np.random.default_rng((seed, 2))
    places: list[tuple[int, int, int]] = []
    left = CALIBRATION_VALUES
    for i in generator.permutation(len(split)).tolist():
        length = int(split.lengths[i])
        for begin in range(0, length, CALIBRATION_STEPS):
            end = min(begin + CALIBRATION_STEPS, length)
            width = sum(int(np.prod(split.arrays[n][i].shape[1:])) for n in split.inputs)
            if left >= (end - begin) * width or not places:
                places.append((i, begin, end))
                left -= (end - begin) * width
    arrays = {n: [split.arrays[n][i][b:e] for i, b, e in places] for n in split.inputs}
    return Split(arrays, split.inputs, split.inputs)


def split_to_bytes(split: Split) -> bytes:
    """A split as .npz: every array padded, and `lengths`."""
    lengths = split.lengths
    arrays: dict[str, NDArray[Any]] = {"lengths": lengths}
    for name, rows in split.arrays.items():
        listed = [np.asarray(row) for row in rows]
        stepwise = name in split.steps
        arrays[name] = padded(listed, int(lengths.max())) if stepwise else np.stack(listed)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def split_from_bytes(path: Path, inputs: tuple[str, ...], steps: tuple[str, ...]) -> Split:
    """The inverse, of a file."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        lengths = arrays.pop("lengths")
        split = {
            name: [row[:n] for row, n in zip(array, lengths, strict=True)]
            if name in steps
            else list(array)
            for name, array in arrays.items()
        }
        return Split(split, inputs, tuple(name for name in steps if name in split))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:
        raise FileFormatError(f"{path} is damaged ({error}); train again") from None


def write_run(
    folder: Path,
    config: Config,
    dataset: Dataset,
    source: str | None,
    files: Mapping[str, bytes],
) -> None:
    """Write a finished run: config, facts and data here, all else by the caller.

    files: the further ones, by name.
    """
    splits = {name: split for name, split in dataset.splits.items() if name != "train"}
    train = dataset.splits["train"]
    facts = dataset.facts | {
        "inputs": list(train.inputs),
        "steps": list(train.steps),
        "splits": list(splits),
    }
    described = config.as_json() | {
        "edgernn": __version__,
        "data": {
            "name": dataset.name,
            "source": source,
            "sha256": digest(Path(source)) if source else None,
            "split": dataset.split,
            "sequences": {name: len(split) for name, split in dataset.splits.items()},
            "steps": {n: int(split.lengths.sum()) for n, split in dataset.splits.items()},
        },
        "versions": versions(),
    }
    content = {
        CONFIG: as_json(described),
        FACTS: as_json(facts),
        f"data/{CALIBRATION}.npz": split_to_bytes(calibration_split(train, config.settings.seed)),
    }
    content |= {f"data/{name}.npz": split_to_bytes(split) for name, split in splits.items()}
    # What an earlier run left would be taken for a part of this one.
    old = [p for name in ("data", FINETUNED) for p in sorted((folder / name).glob("*"))]
    earlier = [str(p.relative_to(folder)) for p in old if p.is_file()]
    put_in_place(folder, content | dict(files), earlier=earlier)


def as_json(value: Any) -> bytes:
    """Readable JSON."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def digest(source: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for path in files:
        if source.is_dir():
            total.update(os.fsencode(path.relative_to(source)) + b"\0")
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def versions() -> dict[str, str]:
    """What was used."""
    found = {"python": platform.python_version(), "edgernn": __version__}
    for package in ("torch", "lightning", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
