"""A little of the calibration data beside an exported program, to compare it with float on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import FileFormatError

SAMPLE: Final = "model.sample.npz"


def write_sample(sequences: list[dict[str, NDArray[np.float32]]]) -> bytes:
    """Sequences as .npz content: arrays <input>_<i>."""
    stream = io.BytesIO()
    arrays = {f"{n}_{i}": v for i, s in enumerate(sequences) for n, v in s.items()}
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def read_sample(path: Path, inputs: Sequence[str]) -> list[dict[str, NDArray[np.float32]]]:
    """The sequences of a sample file, by input; none if there is no such file."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            count = len(data.files) // len(inputs)
            return [{n: data[f"{n}_{i}"] for n in inputs} for i in range(count)]
    except Exception as error:
        # A damaged zip raises what zipfile, zlib and numpy please.
        raise FileFormatError(f"{path} is damaged ({type(error).__name__}); export again") from None
