"""A program as C99 for microcontrollers, single-board computers and the desk."""

from edgernn.exporters.c.export import to_c

__all__ = ["to_c"]
