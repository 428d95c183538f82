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
# Macros in small letters: of C, and of Windows.
_MACROS: Final = "assert complex errno far imaginary interface near small stderr stdin stdout"
_RESERVED: Final = frozenset(f"{_KEYWORDS} {_MACROS}".split())
# <name>.h would hide a header of C, POSIX or Arduino; CMake and Windows have names too.
_NAMES: Final = """
    aio arduino arm_acle arm_mve arm_neon assert complex cpio ctype dirent dlfcn errno fcntl fenv
    float fmtmsg fnmatch ftw glob grp iconv immintrin inttypes iso646 langinfo libgen limits locale
    malloc math memory monetary mqueue ndbm netdb nl_types poll pthread pwd regex sched search
    semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib
    stdnoreturn string strings stropts syslog tar termios tgmath threads time trace uchar ulimit
    unistd utime utmpx wchar wctype windows wordexp
    all clean depend edit_cache help install package rebuild_cache test zephyr
    aux com1 com2 com3 com4 com5 com6 com7 com8 com9 con lpt1 lpt2 lpt3 lpt4 lpt5 lpt6 lpt7 lpt8
    lpt9 nul prn
    example_main
"""
_TAKEN: Final = frozenset(_NAMES.split())


def model_name(name: str) -> str:
    """A checked --name: it becomes a file name, a target and the prefix of every symbol.

    InputError for what is no lower-case C identifier, or means something else already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name):
        raise InputError(
            f"{name!r} cannot name the model in C; choose lower-case letters, digits and '_', "
            "a letter first, at most 48"
        )
    if name in _RESERVED | _TAKEN or name.startswith("edgernn"):
        raise InputError(
            f"{name!r} cannot name the model in C: it means something else to a compiler or a "
            f"build system, or to the engine; choose another name, such as {_longer(name)}"
        )
    return name


def _longer(name: str) -> str:
    return "model" if name.startswith("edgernn") else f"{name[:42]}_model"


def model_name_of(stem: str) -> str:
    """A model name from a file's stem: "My model-2" becomes my_model_2."""
    text = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    if not text or text[0].isdigit():
        text = f"model_{text}"
    text = text[:48].rstrip("_")
    try:
        return model_name(text)
    except InputError:
        return _longer(text)


def identifiers(
    names: Iterable[str], taken: Iterable[str] = (), prefix: str = "edgernn"
) -> list[str]:
    """A C identifier like each name: no keyword, no macro, none twice, none of `taken`.

    prefix: names that begin so are others', as are the engine's.
    """
    result: list[str] = []
    used = set(taken)
    for name in names:
        # Macros of the standard headers and of Arduino are in capitals.
        risky = name in _RESERVED or name.isupper() or name.startswith(("edgernn", prefix))
        identifier = f"v_{name}" if risky else name
        while identifier in used:
            identifier += "_"
        used.add(identifier)
        result.append(identifier)
    return result


def local_names(
    names: Iterable[str], taken: Iterable[str] = (), prefix: str = "edgernn"
) -> dict[str, str]:
    """name -> its identifier, for names of which none comes twice."""
    names = list(names)
    return dict(zip(names, identifiers(names, taken, prefix), strict=True))
