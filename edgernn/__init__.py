"""Recurrent networks from PyTorch as one int8 integer program, the same bits on every engine."""
