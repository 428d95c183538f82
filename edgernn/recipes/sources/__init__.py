"""Numeric data from files: whole sequences with a label each, and long streams.

`docs/data.md` has the conventions of the files.
"""

from edgernn.recipes.sources.scaling import scaled, standardize
from edgernn.recipes.sources.sequences import read_sequences
from edgernn.recipes.sources.series import arranged, read_series
from edgernn.recipes.sources.streams import Stream, Streams

__all__ = [
    "Stream",
    "Streams",
    "arranged",
    "read_sequences",
    "read_series",
    "scaled",
    "standardize",
]
