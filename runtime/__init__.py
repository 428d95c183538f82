"""What a program is, its file, and the NumPy engine that steps it. Needs NumPy alone."""

from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.file import load_program, save_program
from edgernn.runtime.program import Program
from edgernn.runtime.state import state_from_bytes, state_to_bytes
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

__all__ = [
    "EdgernnError",
    "FileFormatError",
    "InputError",
    "Program",
    "StepRuntime",
    "Window",
    "WindowRuntime",
    "load_program",
    "save_program",
    "state_from_bytes",
    "state_to_bytes",
]
