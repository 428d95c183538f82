"""What a program is, its file, and the NumPy engine that steps it. Needs NumPy alone."""

from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.file import load_program, save_program
from edgernn.runtime.program import Program

__all__ = [
    "EdgernnError",
    "FileFormatError",
    "InputError",
    "Program",
    "StepRuntime",
    "load_program",
    "save_program",
]
