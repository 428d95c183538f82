"""Operators that are refused with a way out of their own."""

from __future__ import annotations

from typing import Final

from edgernn.importer.registry import Refusal

POOLED: Final = Refusal(
    "",
    "looks at all time steps or features at once",
    "pool the steps with y.mean(dim=1), y.amax(dim=1) or edgernn.nn.AttentionPooling, or take the "
    "last step, y[:, -1]; combine features with nn.Linear",
)
_CELL: Final = "nn.GRU, nn.LSTM or nn.RNN, the whole layer, in place of cells and a Python loop"
_PRODUCT: Final = Refusal(
    "",
    "multiplies activations with each other, as attention does",
    "use recurrent layers in place of attention, and nn.Linear for products with weights",
)
_ELEMENTWISE: Final = Refusal(
    "",
    "is elementwise arithmetic that is not lowered to integers",
    "fold constant factors and offsets into the next nn.Linear, or apply it outside the model",
)
_CONVOLUTION: Final = Refusal(
    "",
    "is no convolution over time alone",
    "use edgernn.nn.CausalConv1d, or compute it outside the model and feed its result",
)
_BATCH_NORM: Final = Refusal(
    "nn.BatchNorm1d",
    "computes a mean and a variance from the batch or the sequence it is given",
    "use nn.BatchNorm1d, and call model.eval() before the export",
)
_LAYER_NORM: Final = Refusal(
    "nn.LayerNorm",
    "divides by a variance it computes at every step, which is not lowered to integers",
    "train without it, or apply it to the model's input outside the model",
)
_EMBEDDING: Final = Refusal(
    "nn.Embedding",
    "looks tokens up in another way than row by row",
    "use nn.Embedding, without max_norm",
)
_PACKED: Final = Refusal(
    "packed sequences",
    "packs sequences of different lengths, and a stream has no length",
    "wrap the layer in edgernn.nn.VariableLength and give it the padded tensor and the lengths",
)
_FLIP: Final = Refusal(
    "",
    "reverses or shifts an axis",
    "to read a sequence backwards give the layer bidirectional=True and take the half that runs "
    "backwards, y[..., hidden_size:]; or feed the model in the order it runs, oldest step first",
)
_INDEX: Final = Refusal(
    "",
    "picks or compares elements by what the model is given",
    "pass lengths or a mask as an input: edgernn.nn.VariableLength and the layers of edgernn.nn "
    "read them, h_n and y[:, -1] are those of the last true step then, and "
    "edgernn.nn.AttentionPooling pools the true steps",
)
_GRADIENT: Final = Refusal(
    "torch.no_grad",
    "wraps a part of forward in a context",
    "take the context out of forward and export the model again",
)
_ACTIVATION: Final = Refusal(
    "",
    "is an activation that is not lowered to integers",
    "use another, such as ReLU, GELU, SiLU or tanh, and train the model again",
)
_RANDOM: Final = Refusal(
    "",
    "draws random numbers",
    "start from zeros, from a parameter, or from a state that is an input of the model",
)


def _table() -> dict[str, Refusal]:
    groups: list[tuple[str, Refusal]] = [
        ("mean.default sum.default amin max.default min adaptive_avg_pool1d "
         "adaptive_max_pool1d cumsum argmax argmin norm std var logsumexp prod topk sort", POOLED),
        ("bmm baddbmm einsum dot mv scaled_dot_product_attention outer", _PRODUCT),
        ("log sqrt rsqrt reciprocal "
         "where minimum masked_fill masked_fill_ sin cos sign addcmul lerp", _ELEMENTWISE),
        ("conv2d conv3d conv_transpose1d unfold im2col", _CONVOLUTION),
        ("_native_batch_norm_legit _native_batch_norm_legit_functional native_batch_norm "
         "_batch_norm_with_update cudnn_batch_norm instance_norm", _BATCH_NORM),
        ("native_layer_norm group_norm rms_norm", _LAYER_NORM),
        ("embedding_bag one_hot embedding_renorm_", _EMBEDDING),
        ("_pack_padded_sequence _pad_packed_sequence gru.data lstm.data rnn_tanh.data "
         "rnn_relu.data", _PACKED),
        ("flip roll rot90", _FLIP),
        ("gather index index_select take_along_dim arange eq ne lt le gt ge", _INDEX),
        ("glu threshold threshold_ hardshrink softshrink", _ACTIVATION),
        ("rand randn rand_like randn_like randint normal bernoulli uniform uniform_ normal_",
         _RANDOM),
    ]  # fmt: skip
    table = {operator: refusal for names, refusal in groups for operator in names.split()}
    return table | SINGLE_CELLS


SINGLE_CELLS: Final[dict[str, Refusal]] = {
    cell: Refusal(layer, "steps a single cell from a Python loop", f"use {_CELL}")
    for cell, layer in (
        ("gru_cell", "nn.GRUCell"),
        ("lstm_cell", "nn.LSTMCell"),
        ("rnn_tanh_cell", "nn.RNNCell"),
        ("rnn_relu_cell", "nn.RNNCell"),
    )
}
REFUSALS: Final[dict[str, Refusal]] = _table()
LAYERS: Final[dict[str, Refusal]] = {"nn.MultiheadAttention": _PRODUCT}
CONTEXTS: Final[dict[str, Refusal]] = {
    "wrap_with_set_grad_enabled": _GRADIENT,
    "wrap_with_autocast": _GRADIENT,
    "cond": Refusal(
        "torch.cond",
        "chooses its computation by the data",
        "remove the branch from forward, or choose between two models outside",
    ),
    "while_loop": Refusal(
        "torch.while_loop",
        "loops as long as the data says",
        "use nn.GRU, nn.LSTM or nn.RNN in place of the loop",
    ),
}
OTHERWISE: Final = Refusal(
    "",
    "is not lowered to integers",
    "take it out of the model, before its input or after its output",
)
PADDED: Final = Refusal(
    "",
    "reads a sequence that is padded for a convolution",
    "pad right before the convolution and cut the end, y[..., :-P], right after it, or use "
    "edgernn.nn.CausalConv1d",
)
TOKENS: Final = Refusal(
    "",
    "computes with an input of integers",
    "give token ids to nn.Embedding, and feed what is a quantity as floating point",
)
