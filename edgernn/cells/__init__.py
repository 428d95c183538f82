"""Every recurrent cell: its float step and its lowering, one module each.

A new cell is a module here and an entry in CELLS, and its PyTorch layer in `edgernn.nn`; no
exporter and no engine knows of it.
"""

from __future__ import annotations

from typing import Final

from edgernn.cells import (
    gru,
    gru_reset_before,
    lstm,
    lstm_peephole,
    lstm_projection,
    mgu,
    rnn,
)
from edgernn.cells.base import Cell

CELLS: Final[dict[str, Cell]] = {
    cell.kind: cell
    for cell in (
        gru.CELL,
        gru_reset_before.CELL,
        lstm.CELL,
        lstm_peephole.CELL,
        lstm_projection.CELL,
        mgu.CELL,
        rnn.TANH,
        rnn.RELU,
    )
}
