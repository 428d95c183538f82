"""A search over networks that fit a device: accuracy against flash.

result = sweep(recipe, config, source, space, budget, trials, out)
result.front
"""

from edgernn.sweep.result import Found, Result
from edgernn.sweep.search import sweep
from edgernn.sweep.space import Space

__all__ = ["Found", "Result", "Space", "sweep"]
