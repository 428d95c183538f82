"""Names of recurrent layers, as they are typed on a command line: `gru`, `bilstm:gate`, ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torch import nn

import edgernn.nn as enn
from edgernn.runtime.errors import InputError

FUSIONS: Final = ("concat", "gate", "fuser")
MISSING: Final = "gru_d"
"""The cell that reads x, what of it was observed, and the time since."""


def _jordan(input_size: int, hidden_size: int, **options: Any) -> nn.Module:
    return enn.Jordan(input_size, hidden_size, hidden_size, output_nonlinearity="tanh", **options)


CELLS: Final[dict[str, Callable[..., nn.Module]]] = {
    "rnn": nn.RNN,
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
    "jordan": _jordan,
    "lstm": nn.LSTM,
    "lstm_peephole": enn.LSTMPeephole,
    "ln_lstm": enn.LayerNormLSTM,
    "gru": nn.GRU,
    "gru_reset_before": enn.GRUResetBefore,
    "ln_gru": enn.LayerNormGRU,
    "mgu": enn.MGU,
    "fastgrnn": enn.FastGRNN,
    MISSING: enn.GRUD,
}


@dataclass(frozen=True)
class Cell:
    """One name, taken apart.

    kind: of CELLS. both: both directions, so that the network reads windows. fusion: of the
    directions; `fuser` behind a causal layer is a second, causal one that refines its output. conv:
    a causal convolution in front. twin: a backward layer beside it while training.
    """

    kind: str
    both: bool = False
    fusion: str = ""
    conv: bool = False
    twin: bool = False

    def layer(self, input_size: int, hidden_size: int) -> nn.Module:
        """One layer of it, batch first."""
        if self.twin:
            return enn.TwinGRU(input_size, hidden_size, batch_first=True)
        options: dict[str, Any] = {"bidirectional": True} if self.both else {}
        return CELLS[self.kind](input_size, hidden_size, batch_first=True, **options)


def parse(name: str) -> Cell:
    """A cell's name, `[conv+][bi|twin]KIND[:FUSION]`; InputError says which there are."""
    front, plus, rest = name.rpartition("+")
    kind, colon, fusion = rest.partition(":")
    both = kind.startswith("bi")
    twin = kind == "twingru"
    kind = kind[2:] if both else "gru" if twin else kind
    if (plus and front != "conv") or kind not in CELLS:
        raise InputError(
            f"{name!r} is no cell; there are {', '.join(CELLS)} and twingru, with bi in front for "
            "both directions, conv+ in front of all for a causal convolution, and :concat, :gate "
            "or :fuser behind for what joins the directions"
        )
    if colon and fusion not in FUSIONS:
        raise InputError(
            f"{name!r}: {fusion!r} joins no directions; there are {', '.join(FUSIONS)}"
        )
    if fusion in ("concat", "gate") and not both:
        raise InputError(f"{name!r} has one direction, so there is nothing for {fusion!r} to join")
    if kind == MISSING and (fusion or plus):
        raise InputError(f"{name!r}: {MISSING} reads three inputs and stands alone")
    return Cell(kind, both, fusion or ("concat" if both else ""), bool(plus), twin)
