"""Coverage-guided fuzzing of the exported step: any int16, in both families of kernels."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgernn.runtime import Program
from tests.exporters import c_programs
from tests.exporters.c_host import NATIVE, PORTABLE, execute, require
from tests.exporters.c_table import write_table
from tests.exporters.test_c_mutations import put_in
from tests.programs import random_program

TARGET = Path(__file__).parent / "fuzz_step.c"
SECONDS = 8
SANITIZERS = ("-fsanitize=address,undefined,local-bounds", "-fno-sanitize-recover=all")
FLAGS = ("-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Werror", *SANITIZERS)


def programs() -> dict[str, Program]:
    return {
        "gru": random_program(["gru"], [9], 5, 0, 2),
        "lstm": random_program(["lstm"], [7], 3, 1),
        "stack": random_program(["rnn_relu", "gru", "rnn_tanh"], [5, 33, 1], 1, 2, 3),
        **c_programs.structures(range(60, 63), 40),
        "every_operator": c_programs.every_operator(),
        "functions": c_programs.functions(),
        "wide": c_programs.wide(600, 6, steep=1.0),
    }


def build(
    models: Mapping[str, Program],
    folder: Path,
    mutate: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """The fuzzer, `mutate` applied to the portable family alone.

    Each family is a shared library, so that none takes the functions of the other.
    """
    require("clang")
    probe = ["clang", "-fsanitize=fuzzer,address", "-x", "c", "-", "-o", os.devnull]
    source = "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 9; }"
    if subprocess.run(probe, input=source, capture_output=True, text=True).returncode:
        reason = "clang has no libFuzzer; Debian has it in libclang-rt-dev"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    sources = write_table(models, folder)
    libraries = []
    for name, family in (("native", NATIVE), ("portable", PORTABLE)):
        if name == "portable":
            mutate(folder)
        libraries.append(folder / f"{name}.so")
        table = f'-DTABLE=__attribute__((visibility("default"))) {name}_models'
        flags = ("-fsanitize=fuzzer-no-link", "-shared", "-fPIC", "-fvisibility=hidden", table)
        execute(["clang", *FLAGS, *family, *flags, *sources, "-o", libraries[-1]])
    fuzzer = folder / "fuzz_step"
    link = ("-fsanitize=fuzzer", "-I", folder, *libraries, "-o", fuzzer)
    execute(["clang", *FLAGS, TARGET, *link])
    return fuzzer


def fuzz(fuzzer: Path, *options: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [fuzzer, "-seed=1", "-max_len=512", "-len_control=20", "-print_final_stats=1"]
    folder = fuzzer.parent
    return subprocess.run(
        [*command, *options, f"-artifact_prefix={folder}/"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_no_state_and_no_input_breaks_a_step(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    done = fuzz(build(programs(), tmp_path), f"-max_total_time={SECONDS}")
    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
    assert runs is not None
    record_property("runs", int(runs[1]))
    print(f"{int(runs[1]):,} runs, nothing found")
    # Slower than this, and it was not fuzzed.
    assert int(runs[1]) > 2000


def replaced(file: str, before: str, after: str) -> Callable[[Path], None]:
    def mutate(folder: Path) -> None:
        text = (folder / file).read_text()
        assert before in text, f"{file} no longer has {before!r}; mutate what is there now"
        (folder / file).write_text(text.replace(before, after))

    return mutate


def one_pair(folder: Path) -> None:
    put_in(folder, "sub_half", "a, b", "a - b == 65535 ? -32768 : right")


@pytest.mark.parametrize(
    ("mutate", "said"),
    [
        (one_pair, "every_operator: .* differ"),
        # Sums of more columns than 32 bits hold.
        (
            replaced("edgernn.c", "#define CHUNK 512", "#define CHUNK 4096"),
            "signed integer overflow",
        ),
        # A state that anybody may restore.
        (replaced("gru.c", "state->tag != TAG", "state->tag == 0u"), "gru: foreign state"),
        # One element too many, in a matrix or in an array.
        (replaced("gru.c", "edgernn_linear_add(&", "edgernn_linear_add(1 + &"), "buffer-overflow"),
        (replaced("gru.c", "state->sl0_h, 9)", "state->sl0_h, 11)"), "heap-buffer-overflow"),
    ],
    ids=["rail", "overflow", "tag", "matrix", "array"],
)
def test_a_mistake_is_found(mutate: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    models = {name: programs()[name] for name in ("gru", "wide", "every_operator")}
    done = fuzz(build(models, tmp_path, mutate), "-max_total_time=60")
    assert done.returncode != 0
    assert re.search(said, done.stderr), done.stderr[-4000:]
