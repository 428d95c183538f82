"""Recurrent layers that torch.nn does not have: train them like nn.GRU, export them like nn.GRU.

Plain nn.Modules; each carries its equations and their source in its docstring.
"""

from edgernn.nn.mgu import MGU

__all__ = ["MGU"]
