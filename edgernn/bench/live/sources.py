"""Where a live stream comes from: rows of numbers, and when each of them is due."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import FileFormatError, InputError

FloatRow = NDArray[np.float32]
TIME_NAME: Final = re.compile(r"(t|time|timestamp|seconds)( ?[\[(](s|sec|seconds)[\])])?")
"""Of a column of seconds. One in another unit is none: it would be replayed at a wrong rate."""
LARGEST: Final = float(np.finfo(np.float32).max)
_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True)
class Item:
    """values: (F,) float32. due: seconds after the first one, by the stream's own clock; None if
    it comes when it comes."""

    values: FloatRow
    due: float | None = None


@dataclass(frozen=True)
class Source:
    """name: for messages. items: the stream. period: seconds between steps, None if unknown or not
    always the same. count: of items, None if unknown. paced: are the items there already, so that
    waiting for the time they are due is ours to do?"""

    name: str
    items: Iterator[Item]
    period: float | None
    count: int | None = None
    paced: bool = False


def open_source(
    name: str, features: int, *, rate: float | None = None, layout: str = "csv",
    stdin: IO[bytes] | None = None,
) -> Source:  # fmt: skip
    """A stream of rows of `features` numbers.

    name: "-", or the path of a .wav or a .csv. rate: steps a second, for what has no time of its
    own. layout: of "-", csv lines or raw numbers of this machine's byte order. InputError,
    FileFormatError: for what is no such stream; what is wrong in a later row is raised there.
    """
    period = None if rate is None else 1.0 / rate
    if name == "-":
        if stdin is None and sys.stdin is None:
            raise InputError("stdin is closed; pipe a stream into --live -, or name a file")
        stream = sys.stdin.buffer if stdin is None else stdin
        if layout != "csv":
            return Source("stdin", _raw(stream, features, layout), period)
        lines = (line.decode(errors="replace") for line in stream)
        table = _Table("stdin", lines, features)
        return Source("stdin", (Item(values) for _, values in table.rows()), period)
    if layout != "csv":
        raise InputError("--format is of a stream on stdin, --live -; a file says what it is")
    path = Path(name)
    if not path.is_file():
        raise InputError(f"there is no file {name}; --live takes a .wav, a .csv, or - for stdin")
    if path.suffix.lower() == ".wav":
        if rate is not None:
            raise InputError(f"{name} has a rate of its own; use --speed to replay it faster")
        from edgernn.bench.live.wav import open_wav

        return open_wav(path, features)
    return _csv(path, features, period)


def _raw(stream: IO[bytes], features: int, layout: str) -> Iterator[Item]:
    dtype = np.dtype(layout)
    size, place = features * dtype.itemsize, 0
    while data := _exactly(stream, size):
        if len(data) < size:
            raise InputError(
                f"stdin ends within step {place + 1}: {len(data)} of its {size} bytes; a step is "
                f"{features} numbers of {layout}"
            )
        values = np.frombuffer(data, dtype).astype(np.float32)
        if layout == "int16":
            values /= np.float32(32768.0)
        place += 1
        if not np.isfinite(values).all():
            raise InputError(f"stdin, step {place}: NaN or infinity; clean the stream before")
        yield Item(values)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """As many bytes, fewer at the end only: a pipe gives what there is."""
    data = b""
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


class _Table:
    """Lines of numbers, perhaps under a header, perhaps with a column of time in seconds."""

    def __init__(self, name: str, lines: Iterable[str], features: int) -> None:
        self.name, self._features = name, features
        self._lines = ((i, line) for i, line in enumerate(lines, 1) if line.strip())
        self._delimiter = ","
        self.time: int | None = None
        self._width = features

    def rows(self) -> Iterator[tuple[float | None, FloatRow]]:
        """Time, if there is such a column, and values. InputError with the number of the line."""
        first = next(self._lines, None)
        if first is None:
            return
        number, line = first
        self._delimiter = max(_DELIMITERS, key=line.count)
        cells = self._cells(number, line)
        header = any(_number(cell) is None for cell in cells)
        self._width = len(cells)
        self.time = self._time_column(cells, header)
        if self._width != self._features + (self.time is not None):
            raise InputError(
                f"{self.name}, line {number}: {self._width} columns, and a step of this program "
                f"takes {self._features}, with a column of time in seconds in front if there is one"
            )
        if not header:
            yield self._row(number, cells)
        for number, line in self._lines:
            yield self._row(number, self._cells(number, line))

    def _cells(self, number: int, line: str) -> list[str]:
        try:
            cells = next(csv.reader([line], delimiter=self._delimiter))
        except csv.Error as error:
            raise InputError(
                f"{self.name}, line {number}: {error}; a step is a line of numbers"
            ) from None
        return [cell.strip() for cell in cells]

    def _time_column(self, cells: list[str], header: bool) -> int | None:
        if header:
            found = [i for i, cell in enumerate(cells) if TIME_NAME.fullmatch(cell.lower())]
            if found and len(cells) == self._features + 1:
                return found[0]
            return None
        return 0 if len(cells) == self._features + 1 else None

    def _row(self, number: int, cells: list[str]) -> tuple[float | None, FloatRow]:
        where = f"{self.name}, line {number}"
        if len(cells) != self._width:
            raise InputError(
                f"{where}: {len(cells)} columns, and the first line has {self._width}; "
                "repair the line"
            )
        values = []
        for column, cell in enumerate(cells, 1):
            value = _number(cell)
            if value is None:
                raise InputError(f"{where}, column {column}: {cell[:40]!r} is no number")
            # A program reads float32.
            if not abs(value) <= LARGEST:
                raise InputError(
                    f"{where}, column {column}: {cell[:40]!r} is not finite in float32; clean the "
                    "data before"
                )
            values.append(value)
        time = None if self.time is None else values.pop(self.time)
        return time, np.array(values, np.float32)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _csv(path: Path, features: int, period: float | None) -> Source:
    """Its steps, each due at its own time."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"cannot read {path}: {error}; --live takes a text file") from None
    table = _Table(str(path), text.splitlines(), features)
    rows = list(table.rows())
    if table.time is not None and period is not None:
        raise InputError(f"{path} has times of its own; leave out --rate, or use --speed")
    if table.time is None and period is None:
        raise InputError(
            f"{path} does not say when its steps are due; give --rate, or a column of time in "
            "seconds in front"
        )
    return Source(str(path), _due(path, rows, period), _usual(rows) or period, len(rows), True)


def _usual(rows: list[tuple[float | None, FloatRow]]) -> float | None:
    """The median time between steps."""
    times = [time for time, _ in rows if time is not None]
    return float(np.median(np.diff(times))) if len(times) > 1 else None


def _due(
    path: Path, rows: list[tuple[float | None, FloatRow]], period: float | None
) -> Iterator[Item]:
    start, last = rows[0][0] if rows else None, -math.inf
    for i, (time, values) in enumerate(rows):
        if time is None or start is None:
            yield Item(values, i * (period or 0.0))
            continue
        if time < last:
            raise InputError(f"{path}, step {i + 1}: its time {time:g} s is before {last:g} s")
        last = time
        yield Item(values, time - start)
