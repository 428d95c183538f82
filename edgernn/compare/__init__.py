"""Several cells trained on the same data with several seeds, and what can be said of them."""

from edgernn.compare.command import compare_command
from edgernn.compare.comparison import Comparison, compare

__all__ = ["Comparison", "compare", "compare_command"]
