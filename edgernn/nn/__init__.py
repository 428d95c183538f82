"""Recurrent layers that torch.nn does not have: train them like nn.GRU, export them like nn.GRU.

Plain nn.Modules; each carries its equations and their source in its docstring.
"""

from edgernn.nn.fusion import GatedFusion, RecurrentFusion
from edgernn.nn.gru_reset_before import GRUResetBefore
from edgernn.nn.lstm_peephole import LSTMPeephole
from edgernn.nn.mgu import MGU
from edgernn.nn.twin import TwinGRU

__all__ = ["MGU", "GatedFusion", "RecurrentFusion", "TwinGRU", "GRUResetBefore", "LSTMPeephole"]
