"""Recurrent layers that torch.nn does not have: train them like nn.GRU, export them like nn.GRU.

Plain nn.Modules; each carries its equations and their source in its docstring.
"""

from edgernn.nn.attention_pooling import AttentionPooling
from edgernn.nn.category_attention import CategoryAttention
from edgernn.nn.causal import CausalAvgPool1d, CausalConv1d, CausalMaxPool1d
from edgernn.nn.fastgrnn import FastGRNN
from edgernn.nn.fusion import GatedFusion, RecurrentFusion
from edgernn.nn.gru_d import GRUD
from edgernn.nn.gru_reset_before import GRUResetBefore
from edgernn.nn.hopfield import Hopfield
from edgernn.nn.jordan import Jordan
from edgernn.nn.layer_norm import LayerNormGRU, LayerNormLSTM
from edgernn.nn.lstm_peephole import LSTMPeephole
from edgernn.nn.mgu import MGU
from edgernn.nn.over_time import Hold, MeanOverTime, SoftmaxOverTime, SumOverTime
from edgernn.nn.twin import TwinGRU
from edgernn.nn.variable_length import VariableLength

__all__ = [
    "GRUD",
    "MGU",
    "AttentionPooling",
    "CategoryAttention",
    "CausalAvgPool1d",
    "CausalConv1d",
    "CausalMaxPool1d",
    "FastGRNN",
    "GRUResetBefore",
    "GatedFusion",
    "Hold",
    "Hopfield",
    "Jordan",
    "LSTMPeephole",
    "LayerNormGRU",
    "LayerNormLSTM",
    "MeanOverTime",
    "RecurrentFusion",
    "SoftmaxOverTime",
    "SumOverTime",
    "TwinGRU",
    "VariableLength",
]
