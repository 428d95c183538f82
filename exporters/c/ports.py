"""Inputs and outputs on their way to C: parameters, and the macros and helpers named after them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgernn.exporters.c.identifiers import identifiers
from edgernn.exporters.c.layout import fill
from edgernn.runtime.program import Tensor


@dataclass(frozen=True)
class Value:
    """An input or output by its role and public name. every: of a window, one for each step."""

    role: str
    name: str
    tensor: Tensor
    every: bool = False


@dataclass(frozen=True)
class Port(Value):
    """An input or output of a function.

    parameter: its name in the function. argument: the array in the examples. macro: prefix of its
    size and scale. helper: the function that converts it from or to float.
    """

    parameter: str = ""
    argument: str = ""
    macro: str = ""
    helper: str = ""

    @property
    def pointer(self) -> str:
        """The parameter's declaration."""
        return f"{'const ' if self.role == 'input' else ''}int16_t *{self.parameter}"


def ports_of(name: str, values: Sequence[Value], taken: Collection[str]) -> tuple[Port, ...]:
    """The ports of a model's function. taken: what the function's body says itself."""
    inputs = {value.name for value in values if value.role == "input"}
    # An input and an output may have one name.
    wanted = [
        f"{v.name}_out" if v.role == "output" and v.name in inputs else v.name for v in values
    ]
    roles = [value.role for value in values]
    parameters = identifiers(wanted, taken, f"{name}_")
    ports: list[Port] = []
    for value, parameter in zip(values, parameters, strict=True):
        single = roles.count(value.role) == 1
        argument = "x" if value.role == "input" else "y"
        verb = "quantize" if value.role == "input" else "dequantize"
        # Names may differ in their case alone.
        macro = f"{name}_{value.role}{'' if single else f'_{value.name}'}".upper()
        while any(port.macro == macro for port in ports):
            macro += "_"
        ports.append(
            Port(
                value.role,
                value.name,
                value.tensor,
                value.every,
                parameter,
                argument if single else f"{argument}_{value.name}",
                macro,
                f"{name}_{verb}_{value.role}{'' if single else f'_{value.name}'}",
            )
        )
    return tuple(ports)


def port_defines(port: Port, tokens: int | None) -> list[str]:
    """The lines of a header about a port. tokens: how many ids it may be, if it is a token id."""
    scale = port.tensor.scale
    lines = [
        f"#define {port.macro}_SIZE {port.tensor.size}",
        f"#define {port.macro}_SCALE {float(scale)!r}f /* {scale} */",
    ]
    if tokens is not None:
        what = "a token id" if port.tensor.size == 1 else "token ids"
        lines.append(
            f"/* {port.name}: {what}, 0 .. {tokens - 1}; any other counts as the nearest. */"
        )
    return lines


def port_helper(port: Port) -> str:
    """The function that turns floats into this input, or this output into floats."""
    size, scale = f"{port.macro}_SIZE", f"{port.macro}_SCALE"
    count = f"steps * {size}" if port.every else size
    if port.role == "input":
        head, items = "edgernn_status_t ", ["const float *values", "int16_t *integers"]
        call = fill("    return edgernn_quantize(", ["values", "integers", count, scale], ");")
    else:
        head, items = "void ", ["const int16_t *integers", "float *values"]
        call = fill("    edgernn_dequantize(", ["integers", "values", count, scale], ");")
    items += ["size_t steps"] if port.every else []
    return f"{fill(f'static inline {head}{port.helper}(', items, ')')}\n{{\n{call}\n}}\n"
