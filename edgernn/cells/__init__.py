"""Every recurrent cell: its float step and its lowering, one module each.

A new cell is a module here and an entry in CELLS, and its PyTorch layer in `edgernn.nn`; no
exporter and no engine knows of it.
"""

from __future__ import annotations

from typing import Final

from edgernn.cells import (
    attention_pooling,
    conv1d,
    fastgrnn,
    gru,
    gru_d,
    gru_reset_before,
    hopfield,
    jordan,
    layer_norm_gru,
    layer_norm_lstm,
    lstm,
    lstm_peephole,
    lstm_projection,
    max_pool1d,
    mgu,
    over_time,
    pooling,
    rnn,
)
from edgernn.cells.base import Cell

CELLS: Final[dict[str, Cell]] = {
    cell.kind: cell
    for cell in (
        attention_pooling.CELL,
        conv1d.CELL,
        *fastgrnn.VARIANTS,
        gru.CELL,
        gru_d.CELL,
        gru_reset_before.CELL,
        hopfield.CELL,
        *jordan.VARIANTS,
        layer_norm_gru.CELL,
        layer_norm_lstm.CELL,
        lstm.CELL,
        lstm_peephole.CELL,
        lstm_projection.CELL,
        max_pool1d.CELL,
        mgu.CELL,
        over_time.SUM,
        over_time.LOG_SUM_EXP,
        over_time.HOLD,
        pooling.MAX,
        pooling.MEAN,
        rnn.TANH,
        rnn.RELU,
    )
}
