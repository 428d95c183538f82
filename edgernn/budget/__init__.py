"""Does a model fit a device? What it costs there, held against limits, and what would help.

    subject = load_subject(Path("build"))
    verdict = check(subject, budget_for(device("nrf52840-dk"), {}))
    verdict.fits, verdict.lines

The costs are those of `edgernn.footprint`, the devices those of `edgernn.targets`.
"""

from edgernn.budget.accuracy import Drop, accuracy_drop
from edgernn.budget.advice import Advice, advise
from edgernn.budget.check import Line, Verdict, check
from edgernn.budget.limits import Budget, budget_for, parse_options
from edgernn.budget.settings import Settings, load_settings
from edgernn.budget.subject import Subject, load_subject

__all__ = [
    "Advice",
    "Budget",
    "Drop",
    "Line",
    "Settings",
    "Subject",
    "Verdict",
    "accuracy_drop",
    "advise",
    "budget_for",
    "check",
    "load_settings",
    "load_subject",
    "parse_options",
]
