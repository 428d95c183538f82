"""Names in C: of the model, of what a program calls by words that C has already, or by twins."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.c import to_c
from edgernn.exporters.c.identifiers import model_name, model_name_of
from edgernn.runtime import InputError, Program
from edgernn.runtime.program import UNIT, Operator, State
from tests.exporters import c_programs
from tests.exporters.c_host import (
    CLANG,
    CXX,
    GCC,
    WARNINGS,
    Build,
    HostC,
    Stepper,
    execute,
    library,
    require,
    write,
)
from tests.exporters.test_c import same
from tests.programs import random_program, reference_run

WORDS = """
class int float signed template this new and or not xor main linux unix restrict inline auto
memcpy memset memmove strlen printf malloc free abs min max index time y0 j1 gamma signal
state scratch tag TAG NULL TRUE INT16_MAX INT16_MIN EOF PI B1 F LOW net net_step net_reset
net_state_t net_loop_0 net_matrix_0 net_weights_0 net_constants_0 net_initial_a
edgernn edgernn_add edgernn_load edgernn_lanes_t edgernn_linear EDGERNN_OK edgernn_status_t
int16_t uint32_t size_t ptrdiff_t bool true false errno stdin stdout assert complex near far small
i n p0 p1 v0 v1 t x y values integers v_int v_class X Y Tag sizeof typeof asm defined i386
"""
HOSTILE = WORDS.split()


def hostile(names: list[str], seed: int) -> Program:
    """Inputs, outputs and states with such names, each used as the name of all three at once."""
    rng = np.random.default_rng(seed)
    tensors, operators, outputs, states = {}, [], {}, []
    for i, name in enumerate(names):
        inner, last = f"{names[(i + 1) % len(names)]}_{i}", f"{name}_next"
        tensors |= {name: (3, UNIT), f"{name}_state": (3, UNIT), inner: (3, UNIT), last: (3, UNIT)}
        operators += [
            Operator("add", (name, f"{name}_state"), (inner,)),
            Operator("mul", (inner, f"{names[0]}_state"), (last,)),
        ]
        outputs[name] = inner
        initial = rng.integers(-32768, 32768, 3).astype(np.int16)
        states.append(State(name, f"{name}_state", last, initial))
    return c_programs.made(tensors, operators, tuple(names), outputs, tuple(states))


@pytest.mark.parametrize("build", [GCC, CLANG, CXX], ids=str)
@pytest.mark.parametrize("part", range(3))
def test_any_name_that_a_program_may_have_compiles_and_steps(
    part: int, build: Build, tmp_path: Path
) -> None:
    require(build.compiler[0])
    program = hostile(HOSTILE[part::3], part)
    # Names of tensors appear in the loops, those of ports in macros and functions too.
    loaded = library(write(program, tmp_path), tmp_path / "net.so", build)
    # The helpers of all ports, which only a caller compiles.
    header = to_c(program, "net")["net.h"].decode()
    helpers = re.findall(r"\bnet_(?:de)?quantize_\w+(?=\()", header)
    assert len(helpers) == len(set(helpers)) == 2 * len(program.inputs)
    calls = "".join(
        f"    {name}({'v, i' if '_quantize' in name else 'i, v'});\n" for name in helpers
    )
    calls = calls.replace("    net_quantize", "    (void)net_quantize")
    (tmp_path / "all.c").write_text(
        '#include "net.h"\nvoid all(float *v, int16_t *i);\n'
        f"void all(float *v, int16_t *i)\n{{\n{calls}}}\n"
    )
    execute([*build.compiler, *WARNINGS, "-c", tmp_path / "all.c", "-o", tmp_path / "all.o"])
    x = c_programs.streams(program, 50)
    same(Stepper(program, loaded, "net").run(x), reference_run(program, x), str(part))


def test_every_word_is_hostile_once() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 90


def test_an_input_an_output_and_a_state_may_have_one_name_and_others_differ_in_their_case_alone(
    tmp_path: Path,
) -> None:
    program = hostile(["x", "X", "x_out", "x_in"], 0)
    header = to_c(program, "net")["net.h"].decode()
    macros = re.findall(r"#define (\w+)", header)
    assert len(set(macros)) == len(macros)
    x = c_programs.streams(program, 50)
    same(HostC(program, tmp_path).run(x), reference_run(program, x), "net")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "lower-case"),
        ("Kws", "lower-case"),
        ("1st", "lower-case"),
        ("_kws", "lower-case"),
        ("k-w", "lower-case"),
        ("a/b", "lower-case"),
        ("kws\n", "lower-case"),
        ("modèle", "lower-case"),
        ("k" * 49, "48"),
        ("int", "means something else"),
        ("class", "means something else"),
        ("edgernn", "means something else"),
        ("edgernn_kernels", "means something else"),
        ("example_main", "means something else"),
        ("string", "means something else"),
        ("stdint", "means something else"),
        ("math", "means something else"),
        ("time", "means something else"),
        ("arduino", "means something else"),
        ("test", "means something else"),
        ("all", "means something else"),
        ("aux", "means something else"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, why: str) -> None:
    program = random_program(["gru"], [2], 1, 0)
    with pytest.raises(InputError, match=why) as caught:
        to_c(program, name)
    # The way out, where there is one.
    suggested = re.search(r"such as (\w+)$", str(caught.value))
    assert (suggested is not None) == (why == "means something else")
    if suggested is not None:
        assert model_name(suggested[1]) == suggested[1]


def test_no_header_of_the_compilers_is_hidden_by_a_model(tmp_path: Path) -> None:
    """#include <string.h> finds <name>.h where a build has the folder in its search path."""
    for name in ("kws", "model", "a", "net_2", "k" * 48):
        assert model_name(name) == name
    found = execute(["gcc", "-xc", "-E", "-Wp,-v", "/dev/null"])
    (folder,) = (p for p in map(str.strip, found.splitlines()) if p == "/usr/include")
    standard = """assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp
        signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string
        tgmath threads time uchar wchar wctype unistd pthread sched semaphore poll memory"""
    for name in standard.split():
        with pytest.raises(InputError):
            model_name(name)
    assert (Path(folder) / "string.h").exists()


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("kws", "kws"),
        ("My model-2", "my_model_2"),
        ("a.b..c", "a_b_c"),
        ("1st", "model_1st"),
        ("", "model"),
        ("___", "model"),
        ("Größe", "gr_e"),
        ("int", "int_model"),
        ("string", "string_model"),
        ("test", "test_model"),
        ("EdgeRNN", "model"),
        ("edgernn-gru", "model"),
        ("example_main", "example_main_model"),
        ("K" * 100, "k" * 48),
        ("9" * 100, f"model_{'9' * 42}"),
        ("a" * 47 + ".b", "a" * 47),
    ],
)
def test_a_files_stem_becomes_a_name(stem: str, name: str) -> None:
    assert model_name_of(stem) == name
    assert model_name(name) == name


def test_metadata_cannot_leave_its_comment(tmp_path: Path) -> None:
    program = random_program(["gru"], [3], 2, 0)
    evil = {
        "method": "x */ int injected; /*",
        "a\nb": "*\\\n/ #error injected",
        "??/": "// \r\n#error \u2028 \u202e bidi \x00 \x1b",
        "*/": ["/" * 5000],
    }
    for calibration in (evil, "*/ text", 7, None, ["*/"]):
        odd = replace(program, metadata={"calibration": calibration})
        files = to_c(odd, "net")
        for file in ("net.h", "net.c"):
            text = files[file].decode("ascii")
            banner = text[: text.index("\n#")]
            assert banner.count("*/") == banner.count("/*") == 1
            assert max(map(len, banner.splitlines())) <= 100
            assert len(banner) < 2000
        folder = tmp_path / type(calibration).__name__
        x = c_programs.streams(odd, 5)
        same(HostC(odd, folder).run(x), reference_run(odd, x), "net")
