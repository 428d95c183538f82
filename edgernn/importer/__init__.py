"""From PyTorch to the float graph: live modules, exported programs, .pt2 files from anyone.

torch is imported when a function is called, not before.
"""

from edgernn.importer.load import import_model, load_factory
from edgernn.importer.pt2 import load_pt2

__all__ = ["import_model", "load_factory", "load_pt2"]
