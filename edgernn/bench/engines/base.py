"""What every engine of a benchmark offers, and the job that it is given.

Loaded by processes that measure how long their engine takes to import: nothing heavy here, and
nothing that an environment without edgernn would not have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JOB, STREAM = "job.json", "stream.npz"


@dataclass(frozen=True)
class Job:
    """A folder with the files to load and the stream to step.

    window: the steps of a window, None for a program that streams. inputs, outputs, states: names,
    in the program's order; float_states: those of the float network. batch_first: layout of the
    float model. last: outputs that there are once in a window.
    """

    folder: str
    window: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    float_states: tuple[str, ...]
    batch_first: bool = True
    last: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: str) -> Job:
        """Of a folder that `save` wrote to."""
        fields = json.loads((Path(folder) / JOB).read_text())
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **lists, "folder": folder})

    def save(self) -> None:
        """Write it into its folder."""
        (Path(self.folder) / JOB).write_text(json.dumps(asdict(self)))

    def path(self, name: str) -> str:
        """Of a file in the folder."""
        return str(Path(self.folder) / name)

    def stream(self, kind: str) -> dict[str, NDArray[Any]]:
        """Inputs by name: "int" int16, "float" float32; (L, F), of windows (L, T, F)."""
        return self._group(kind)

    def initial(self, kind: str) -> dict[str, NDArray[Any]]:
        """States at the start by name, (size,): "int" int16, "float" float32."""
        return self._group(f"state-{kind}")

    def _group(self, group: str) -> dict[str, NDArray[Any]]:
        import numpy as np

        with np.load(self.path(STREAM), allow_pickle=False) as data:
            prefix = f"{group}/"
            return {n[len(prefix) :]: data[n] for n in data.files if n.startswith(prefix)}


class Engine(Protocol):
    """A loaded engine that keeps the state between steps.

    version: package and version. notes: what a reader of the figures must know.
    """

    version: str
    notes: list[str]

    @property
    def step(self) -> Callable[..., Any]:
        """What is timed: takes what `items` gives, returns what `outputs` reads."""

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """The stream, step by step (or window by window), in the form that the engine reads."""

    def outputs(self, result: Any) -> list[NDArray[np.generic]]:
        """The outputs of a step as arrays (size,), of a window (T, size) or (size,)."""

    def reset(self) -> None:
        """Back to the initial state."""


def items(arrays: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Step by step, one array for each of the names."""
    return zip(*(arrays[name] for name in names), strict=True)
