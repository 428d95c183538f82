"""Names of a program as names in C and C++."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from edgernn.runtime.errors import InputError

_KEYWORDS: Final = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false final float for friend goto if import inline int int8_t int16_t int32_t int64_t
    linux long main module mutable namespace new noexcept not not_eq nullptr offsetof operator or
    or_eq override private protected ptrdiff_t public register reinterpret_cast requires restrict
    return short signed size_t sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof uint8_t uint16_t uint32_t uint64_t
    union unix unsigned using virtual void volatile wchar_t while xor xor_eq
"""
_RESERVED: Final = frozenset(_KEYWORDS.split())


def model_name(name: str) -> str:
    """A checked --name: it becomes a file name and the prefix of every symbol.

    InputError for what is no lower-case C identifier, or would meet the engine's own names.
    """
    taken = name in _RESERVED or name.startswith("edgernn") or name == "example_main"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name) or taken:
        raise InputError(
            f"{name!r} cannot name the model in C; choose lower-case letters, digits and '_', "
            "a letter first, at most 48, no keyword, and not edgernn"
        )
    return name


def model_name_of(stem: str) -> str:
    """A model name from a file's stem: "My model-2" becomes my_model_2."""
    text = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:48]
    if not text or not text[0].isalpha():
        text = f"model_{text}".rstrip("_")
    try:
        return model_name(text)
    except InputError:
        return f"{text[:42]}_model" if not text.startswith("edgernn") else "model"


def local_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """name -> a C identifier like it: no keyword, no macro, none twice, none of `taken`."""
    result: dict[str, str] = {}
    used = set(taken)
    for name in names:
        # Macros of the standard headers and of Arduino are in capitals.
        risky = name in _RESERVED or name.isupper() or name.startswith("edgernn")
        identifier = f"v_{name}" if risky else name
        while identifier in used:
            identifier += "_"
        used.add(identifier)
        result[name] = identifier
    return result
