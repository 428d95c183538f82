"""The exceptions that users see. One sentence each: what, where, and the way out.

EdgernnError
├── UnsupportedError     a model holds something that cannot be lowered exactly
├── InputError           an array or option from the caller does not fit (also a ValueError)
├── FileFormatError      a file is damaged, foreign or of another version
├── MissingExtraError    an optional package is not installed (also an ImportError)
└── MismatchError        two engines computed different bits
"""


class EdgernnError(Exception):
    """Base of everything edgernn raises on purpose."""


class UnsupportedError(EdgernnError):
    """A model holds something that cannot be lowered exactly."""


class InputError(EdgernnError, ValueError):
    """An array or option from the caller does not fit."""


class FileFormatError(EdgernnError):
    """A file is damaged, foreign or of another version."""


class MissingExtraError(EdgernnError, ImportError):
    """An optional package is not installed."""


class MismatchError(EdgernnError):
    """Two engines computed different bits."""
