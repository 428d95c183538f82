"""Is one of two cells better? Paired Wilcoxon signed-rank tests, by SciPy.

Two questions with two answers: over seeds, whether another training would come out the same way;
over test sequences, whether other sequences would, for the networks that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

EXACT: Final = 13
"""So many pairs or fewer: every one of their 2^n signs is tried, so that ties do no harm."""
LEVEL: Final = 0.05


@dataclass(frozen=True)
class Test:
    """Of pairs. p: two-sided, None if there is nothing to test. favours: which of the two has the
    better mean, "" if neither. least: the smallest p that so many pairs can give."""

    what: str
    pairs: int
    p: float | None
    favours: str = ""

    @property
    def least(self) -> float:
        """2^(1-n): all pairs differ the same way."""
        return float(2.0 ** (1 - self.pairs)) if self.pairs else 1.0

    def sentence(self) -> str:
        """What was tested, and what came out."""
        if self.p is None:
            return f"{self.what}: no pairs to test"
        said = f"{self.what}: p = {self.p:.3g}"
        if self.favours:
            said += f" in favour of {self.favours}"
        if self.least > LEVEL:
            said += (
                f"; {self.pairs} pair{'s' if self.pairs > 1 else ''} cannot give less than "
                f"{self.least:.3g}, so nothing below {LEVEL} can come out: it takes 6"
            )
        return said

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "test": "Wilcoxon signed-rank, paired, two-sided",
            "what": self.what,
            "pairs": self.pairs,
            "p": self.p,
            "favours": self.favours,
            "smallest_possible_p": self.least,
        }


def wilcoxon(
    what: str,
    one: Sequence[float],
    other: Sequence[float],
    names: tuple[str, str] = ("one", "other"),
    higher: bool = True,
) -> Test:
    """The test of pairs; those with a value that is not finite are left out. higher: whether more
    is better."""
    from scipy import stats

    differences = np.asarray(one, float) - np.asarray(other, float)
    differences = differences[np.isfinite(differences)]
    pairs = len(differences)
    if not pairs:
        return Test(what, 0, None)
    if not differences.any():
        return Test(what, pairs, 1.0)
    # 0.1 + 0.2 is not 0.3: what differs by its rounding alone is a tie.
    differences = np.round(differences, 12)
    method: Any = "auto"
    if pairs <= EXACT:
        method = stats.PermutationMethod(n_resamples=np.inf)
    p = float(stats.wilcoxon(differences, method=method).pvalue)
    mean = float(differences.mean())
    return Test(what, pairs, p, "" if mean == 0 else names[(mean > 0) != higher])
