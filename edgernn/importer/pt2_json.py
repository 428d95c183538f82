"""The JSON in a .pt2 archive, rewritten field by field: only what is known to be harmless passes.

What torch does with that JSON: it looks operators up by attribute paths, evaluates size
expressions as Python (sympy.sympify), writes names into generated source, and executes guards.
So a new document is built from checked pieces, and nothing that is not understood is copied.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Callable
from typing import Any, Final

from edgernn.runtime.errors import UnsupportedError

MAX_JSON: Final = 64 << 20
MAX_ELEMENTS: Final = 1 << 31
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_PATH: Final = re.compile(r"[A-Za-z0-9_]{1,128}(\.[A-Za-z0-9_]{1,128}){0,63}")
_ATEN: Final = re.compile(r"torch\.ops\.aten\.(?!__)[A-Za-z_]\w{0,127}\.(?!__)[A-Za-z_]\w{0,127}")
_EDGERNN: Final = frozenset(
    f"torch.ops.edgernn.{name}.default" for name in ("recurrent", "padding_mask")
)
_FOREIGN: Final = re.compile(r"torch\.ops\.[a-z_]\w{0,63}\.\w{1,127}(\.\w{1,127})?")
_SYMBOLIC: Final = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_(int|float|max|min|not|sum|ite)|math\.(ceil|floor|trunc)"
)
_DTYPES: Final = frozenset({*range(1, 9), 12, 13})
_SYMBOL: Final = re.compile(r"[suz]{1,3}\d{1,6}")
_CALLS: Final = frozenset(
    [
        "Symbol",
        "Integer",
        "Add",
        "Mul",
        "Max",
        "Min",
        "FloorDiv",
        "CleanDiv",
        "CeilDiv",
        "Mod",
        "PythonMod",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "And",
        "Or",
        "Not",
    ]
)
_ASSUMPTIONS: Final = frozenset(["positive", "nonnegative", "integer", "nonzero", "zero"])
_NODE_TYPES: Final = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp,
    ast.UnaryOp, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv,
)  # fmt: skip


class Malformed(ValueError):
    """The document is not what torch.export.save writes; the text is a clause of a sentence."""


def parse(content: bytes) -> Any:
    """JSON within bounds."""
    if len(content) > MAX_JSON:
        raise Malformed(f"it has more than {MAX_JSON} bytes")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise Malformed(what)


def _dict(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict), "a field is not a mapping")
    result: dict[str, Any] = value
    return result


def _list(value: Any) -> list[Any]:
    _need(isinstance(value, list), "a field is not a list")
    result: list[Any] = value
    return result


def _integer(value: Any, limit: int = 1 << 63) -> int:
    _need(type(value) is int and abs(value) <= limit, "a number is not a sound integer")
    return int(value)


def _size(value: Any) -> int:
    _need(type(value) is int and 0 <= value <= MAX_ELEMENTS, "a size is not sound")
    return int(value)


def _bool(value: Any) -> bool:
    _need(type(value) is bool, "a flag is not true or false")
    return bool(value)


def _float(value: Any) -> float | str:
    if value in ("Infinity", "-Infinity", "NaN"):
        return str(value)
    _need(type(value) in (int, float), "a number is not a float")
    return float(value)


def identifier(value: Any) -> str:
    """A name that is safe in generated source."""
    good = isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None
    _need(good and not keyword.iskeyword(value), f"{str(value)[:40]!r} is not a name")
    return str(value)


def path(value: Any) -> str:
    """The dotted path of a parameter or buffer."""
    good = isinstance(value, str) and _PATH.fullmatch(value) is not None
    _need(good, f"{str(value)[:40]!r} is not a parameter's path")
    return str(value)


def expression(text: Any) -> str:
    """A size expression, of sympy's constructors over integers and symbols alone."""
    complaint = f"{str(text)[:40]!r} is not a size expression"
    _need(isinstance(text, str) and len(text) <= 2000, complaint)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Malformed(complaint) from None
    named_symbols = set()
    for node in ast.walk(tree):
        _need(isinstance(node, _NODE_TYPES), complaint)
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            _need(called in _CALLS, complaint)
            if called == "Symbol":
                first = node.args[0] if len(node.args) == 1 else None
                _need(isinstance(first, ast.Constant), complaint)
                named_symbols.add(id(first))
            named_symbols.add(id(node.func))
        elif isinstance(node, ast.keyword):
            flag = isinstance(node.value, ast.Constant) and type(node.value.value) is bool
            _need(node.arg in _ASSUMPTIONS and flag, complaint)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            good = id(node) in named_symbols and _SYMBOL.fullmatch(node.value) is not None
            _need(good, complaint)
        elif isinstance(node, ast.Constant):
            small = isinstance(node.value, int) and abs(node.value) < 1 << 63
            _need(small, complaint)
        elif isinstance(node, ast.Name) and id(node) not in named_symbols:
            _need(_SYMBOL.fullmatch(node.id) is not None, complaint)
    return ast.unparse(tree)


def _symbolic(value: Any, plain: str, check: Callable[[Any], Any]) -> dict[str, Any]:
    """SymInt or SymBool: a number, or an expression with a hint."""
    ((kind, content),) = _dict(value).items() if len(_dict(value)) == 1 else (("", None),)
    if kind == plain:
        return {plain: check(content)}
    _need(kind == "as_expr", "a size is neither a number nor an expression")
    content = _dict(content)
    hint = content.get("hint")
    return {
        "as_expr": {
            "expr_str": expression(content.get("expr_str")),
            "hint": None if hint is None else {plain: check(_dict(hint).get(plain))},
        }
    }


def sym_int(value: Any) -> dict[str, Any]:
    """A size: a number or an expression."""
    return _symbolic(value, "as_int", _size)


def sym_bool(value: Any) -> dict[str, Any]:
    """A condition on sizes."""
    return _symbolic(value, "as_bool", _bool)


def tensor_meta(value: Any) -> dict[str, Any]:
    """Data type, sizes and strides of a dense tensor, wherever it lived brought to the CPU."""
    meta = _dict(value)
    _need(meta.get("dtype") in _DTYPES, "a tensor has an unknown data type")
    _need(meta.get("layout") == 7, "a tensor is not dense")
    return {
        "dtype": meta["dtype"],
        "sizes": [sym_int(n) for n in _list(meta.get("sizes"))],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": [sym_int(n) for n in _list(meta.get("strides"))],
        "storage_offset": sym_int(meta.get("storage_offset")),
        "layout": 7,
    }


def _named(value: Any) -> dict[str, str]:
    return {"name": identifier(_dict(value).get("name"))}


def _symbol_argument(value: Any) -> dict[str, Any]:
    """The number or the name of a size or a condition."""
    ((kind, content),) = _dict(value).items() if len(_dict(value)) == 1 else (("", None),)
    checks: dict[str, Callable[[Any], Any]] = {
        "as_name": identifier,
        "as_int": _integer,
        "as_bool": _bool,
    }
    _need(kind in checks, "a symbolic argument is of an unknown kind")
    return {kind: checks[kind](content)}


def _text(value: Any) -> str:
    _need(isinstance(value, str) and len(value) <= 64 and value.isprintable(), "a text is odd")
    return str(value)


_ARGUMENTS: Final[dict[str, Callable[[Any], Any]]] = {
    "as_none": _bool,
    "as_tensor": _named,
    "as_tensors": lambda v: [_named(x) for x in _list(v)],
    "as_optional_tensors": lambda v: [argument(x, ("as_none", "as_tensor")) for x in _list(v)],
    "as_int": _integer,
    "as_ints": lambda v: [_integer(x) for x in _list(v)],
    "as_float": _float,
    "as_floats": lambda v: [_float(x) for x in _list(v)],
    "as_bool": _bool,
    "as_bools": lambda v: [_bool(x) for x in _list(v)],
    "as_string": _text,
    "as_scalar_type": lambda v: _integer(v, 64),
    "as_memory_format": lambda v: _integer(v, 8),
    "as_layout": lambda v: _integer(v, 8),
    "as_device": lambda v: {"type": "cpu", "index": None},
    "as_sym_int": _symbol_argument,
    "as_sym_ints": lambda v: [_symbol_argument(x) for x in _list(v)],
    "as_sym_bool": _symbol_argument,
    "as_sym_bools": lambda v: [_symbol_argument(x) for x in _list(v)],
}


def argument(value: Any, kinds: tuple[str, ...] = tuple(_ARGUMENTS)) -> dict[str, Any]:
    """An argument, input or output of a node: tensors, numbers and sizes."""
    _need(len(_dict(value)) == 1, "an argument has no single kind")
    ((kind, content),) = value.items()
    if kind in ("as_graph", "as_custom_obj", "as_operator"):
        raise Malformed(f"an argument is {kind[3:]}, which edgernn does not read")
    _need(kind in kinds, f"an argument is of the unknown kind {str(kind)[:40]!r}")
    return {kind: _ARGUMENTS[kind](content)}


def node(value: Any) -> dict[str, Any]:
    """One call: an ATen operator or arithmetic on sizes, without its metadata."""
    call = _dict(value)
    target, name = call.get("target"), identifier(call.get("name"))
    if not isinstance(target, str) or len(target) > 300:
        raise Malformed(f"node {name} has no operator")
    if not (_ATEN.fullmatch(target) or _SYMBOLIC.fullmatch(target) or target in _EDGERNN):
        if _FOREIGN.fullmatch(target) and not target.startswith("torch.ops.aten."):
            raise UnsupportedError(
                f"node {name} calls {target[:80]}; edgernn reads ATen operators and its own, so "
                "keep others and torch.no_grad() out of forward and export the model again"
            )
        raise Malformed(f"node {name} calls {target[:80]!r}, which is not an ATen operator")
    inputs = []
    for item in _list(call.get("inputs")):
        kind = item.get("kind") if isinstance(item, dict) else 0
        _need(kind in (1, 2), f"node {name} has an argument of unknown kind")
        # An operator's own argument may be called `self`, but never more than an identifier.
        inputs.append({"name": identifier(item["name"]), "arg": argument(item.get("arg")),
                       "kind": kind})  # fmt: skip
    return {
        "target": target,
        "inputs": inputs,
        "outputs": [argument(item) for item in _list(call.get("outputs"))],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": name,
    }
