"""What a torch tensor means while its graph is read: axes with roles, and names without clashes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

MAX_NAME: Final = 96
LONG_NAME: Final = 16


class Axis:
    """One axis of a tensor: its size in the example, and its role once that is known.

    Axes that must be the same thing (two operands of a sum) are joined and share their role.
    """

    def __init__(self, size: int, role: str | None = None) -> None:
        self.size = size
        self._role = role
        self._joined: Axis | None = None

    def root(self) -> Axis:
        """The axis that stands for all that were joined with this one."""
        axis = self
        while axis._joined is not None:
            axis = axis._joined
        return axis

    @property
    def role(self) -> str | None:
        """batch, time, feature, layer, or None while unknown."""
        return self.root()._role

    def bind(self, role: str) -> bool:
        """Give the axis a role; False if it has another one."""
        root = self.root()
        if root._role is None:
            root._role = role
        return root._role == role

    def join(self, other: Axis) -> bool:
        """Make two axes one; False if their roles or sizes differ."""
        a, b = self.root(), other.root()
        if a is b:
            return True
        if a.size != b.size or (a._role and b._role and a._role != b._role):
            return False
        a._role = a._role or b._role
        b._joined = a
        return True


Dim = tuple[Axis, ...]
"""A dimension of a tensor: no axis (size one), one axis, or several merged by a reshape."""


def dim_size(dim: Dim) -> int:
    """Its size in the example."""
    size = 1
    for axis in dim:
        size *= axis.size
    return size


@dataclass(frozen=True, eq=False)
class Padding:
    """Steps that a tensor has beside the true ones, because a convolution pads its input.

    time: the true time axis. before: steps of the value `fill` in front, not yet read by a
    convolution. after: steps behind the last true one, to be cut off.
    """

    time: Axis
    before: int
    after: int
    fill: float = 0.0


@dataclass(frozen=True, eq=False)
class Flow:
    """A tensor computed from the inputs.

    values: its names in the graph, one per layer where there is a layer axis, else one.
    moment: "steps" if it has (or is) every time step, "last" if the last step alone.
    whole: it is h_n or c_n of a layer as it came out, with its layer axis.
    storage: shared by views of one another, which an in-place operator would change together.
    integer: its elements are integers, such as tokens.
    padding: what its time axis has beside the true steps.
    """

    values: tuple[str, ...]
    dims: tuple[Dim, ...]
    moment: str = "steps"
    whole: bool = False
    storage: object = field(default_factory=object)
    integer: bool = False
    padding: Padding | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the example."""
        return tuple(dim_size(dim) for dim in self.dims)

    def view(self, dims: Iterable[Dim], **changes: Any) -> Flow:
        """The same numbers in another shape."""
        return replace(self, dims=tuple(dims), **changes)

    def computed(self, values: Iterable[str], dims: Iterable[Dim] | None = None) -> Flow:
        """New numbers at the same moment."""
        kept = self.dims if dims is None else tuple(dims)
        return Flow(tuple(values), kept, self.moment, padding=self.padding)


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor that does not depend on the inputs; path: the parameter or buffer it is."""

    tensor: Tensor
    path: str = ""


def sanitize(path: str) -> str:
    """A dotted path as a name of letters, digits and underscores that starts with a letter."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")
    if name and not name[0].isalpha():
        name = f"m{name}"
    return name[:MAX_NAME]


class Names:
    """Names for values, such that no name made from one by a suffix meets another.

    The lowering calls its tensors `<value>_<something>`, so no value may be another one's
    beginning up to an underscore.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._reserved: set[str] = set()
        self._states: set[str] = set()

    def reserve(self, name: str) -> None:
        """Keep a name for an input."""
        self._reserved.add(name)

    def state(self, prefix: str, kind: str, layers: int) -> list[str]:
        """Names of one kind of state of a stack: `<prefix>_<kind><layer>`."""
        count = 1
        while True:
            head = prefix if count == 1 else f"{prefix}{count}"
            head = f"{head or 'n'}_" if prefix or count > 1 else ""
            names = [f"{head}{kind}{layer}" for layer in range(layers)]
            if not self._states.intersection(names):
                self._states.update(names)
                self._reserved.update(f"{name}_in" for name in names)
                return names
            count += 1

    def value(self, wanted: str) -> str:
        """A free name for a value, near the wanted one: its end, if it is long.

        A dozen tensors are named after each value, and names are a part of every file.
        """
        wanted = sanitize(wanted[-LONG_NAME:]) or "v"
        candidate, count = wanted, 0
        while not self._free(candidate):
            # Without underscores no name can begin with it but itself.
            candidate = wanted.replace("_", "") + (str(count) if count else "")
            count += 1
        self._values.add(candidate)
        return candidate

    def _free(self, name: str) -> bool:
        if name in self._reserved | self._states:
            return False
        taken = self._values | self._reserved
        if any(other == name or other.startswith(f"{name}_") for other in taken):
            return False
        return not any(name.startswith(f"{other}_") for other in self._values)
