"""The C state: several at once, copied, refused where it is foreign, and the same as in Python."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.runtime import InputError, Program, StepRuntime
from edgernn.runtime.engine import quantize
from edgernn.runtime.state import state_from_bytes, state_tag, state_to_bytes
from tests.exporters import c_programs
from tests.exporters.c_host import GCC, Stepper, execute, library, write, write_all
from tests.programs import random_program, random_structure, reference_run

OK, ARGUMENT, STATE, NUMBER, BUFFER = range(5)


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {
        "net": random_program(["gru", "lstm"], [9, 6], 5, 0, 3),
        "other": random_program(["gru", "lstm"], [9, 6], 5, 1, 3),
        "several": random_structure(16, 30),
    }


@pytest.fixture(scope="module")
def loaded(programs: dict[str, Program], tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("state")
    return library(write_all(programs, folder), folder / "all.so")


def test_the_structure_for_several_inputs_has_them(programs: dict[str, Program]) -> None:
    several = programs["several"]
    assert min(len(several.inputs), len(several.outputs), len(several.states)) >= 2


def test_several_states_run_side_by_side(programs: dict[str, Program], loaded: ctypes.CDLL) -> None:
    program = programs["net"]
    steppers = [Stepper(program, loaded, "net") for _ in range(3)]
    streams = [c_programs.streams(program, 60, seed) for seed in range(3)]
    expected = [reference_run(program, x) for x in streams]
    for t in range(60):
        for stepper, x, (outputs, _) in zip(steppers, streams, expected, strict=True):
            status, y = stepper.step(*(v[t] for v in x))
            assert status == OK
            np.testing.assert_array_equal(y[0], outputs[0][t])


@pytest.mark.parametrize("name", ["net", "several"])
def test_a_copied_state_goes_on_with_the_same_bits(
    programs: dict[str, Program], loaded: ctypes.CDLL, name: str
) -> None:
    program = programs[name]
    x = c_programs.streams(program, 80)
    first, second = Stepper(program, loaded, name), Stepper(program, loaded, name)
    first.run([v[:40] for v in x])
    ctypes.memmove(second.state, first.state, len(first.state))
    a, b = (stepper.run([v[40:] for v in x]) for stepper in (first, second))
    expected, states = reference_run(program, x)
    for left, right, whole in zip(a[0], b[0], expected, strict=True):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(left, whole[40:])
    assert all((a[1][s] == v).all() and (b[1][s] == v).all() for s, v in states.items())


@pytest.mark.parametrize("name", ["net", "several"])
def test_a_state_moves_between_numpy_and_c_both_ways(
    programs: dict[str, Program], loaded: ctypes.CDLL, name: str
) -> None:
    program = programs[name]
    x = c_programs.streams(program, 90)
    runtime, stepper = StepRuntime(program), Stepper(program, loaded, name)

    def python(begin: int, end: int) -> list[NDArray[np.int16]]:
        y = runtime.run_int(*(v[begin:end] for v in x))
        return list(y) if isinstance(y, tuple) else [y]

    parts = [python(0, 30)]
    stepper.state.raw = state_to_bytes(program, runtime.state)
    parts.append(stepper.run([v[30:60] for v in x])[0])
    runtime.state = state_from_bytes(program, stepper.state.raw)
    parts.append(python(60, 90))
    for i, whole in enumerate(reference_run(program, x)[0]):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole)


def test_python_refuses_the_state_of_another_program(
    programs: dict[str, Program], loaded: ctypes.CDLL
) -> None:
    foreign = Stepper(programs["other"], loaded, "other").state.raw
    with pytest.raises(InputError, match="another program"):
        state_from_bytes(programs["net"], foreign)
    with pytest.raises(InputError, match="bytes, not"):
        state_from_bytes(programs["net"], foreign[:-2])


@pytest.mark.parametrize("kind", ["zeroed", "foreign", "tag off by a bit", "tag backwards"])
def test_a_state_that_is_not_the_models_is_refused_and_nothing_is_written(
    programs: dict[str, Program], loaded: ctypes.CDLL, kind: str
) -> None:
    program = programs["net"]
    stepper = Stepper(program, loaded, "net")
    x = c_programs.streams(program, 1)
    assert stepper.check() == OK
    sound = stepper.state.raw
    tag = sound[:4]
    assert int.from_bytes(tag, "little") == state_tag(program)
    stepper.state.raw = {
        "zeroed": bytes(len(sound)),
        "foreign": Stepper(programs["other"], loaded, "other").state.raw,
        "tag off by a bit": bytes([tag[0], tag[1], tag[2], tag[3] ^ 0x80]) + sound[4:],
        "tag backwards": tag[::-1] + sound[4:],
    }[kind]
    before = stepper.state.raw
    assert stepper.check() == STATE
    status, y = stepper.step(x[0][0])
    assert status == STATE
    assert stepper.state.raw == before
    assert (y[0] == 12345).all()
    stepper.reset()
    assert (stepper.check(), stepper.state.raw) == (OK, sound)
    assert stepper.step(x[0][0])[0] == OK


def test_null_pointers_are_refused_and_nothing_is_written(
    programs: dict[str, Program], loaded: ctypes.CDLL
) -> None:
    program = programs["several"]
    stepper = Stepper(program, loaded, "several")
    sizes = [program.tensors[n].size for n in (*program.inputs, *program.outputs.values())]
    arrays = [np.full(n, 321, np.int16) for n in sizes]
    sound = [stepper.state, *(ctypes.c_void_p(v.ctypes.data) for v in arrays)]
    before = stepper.state.raw
    for i in range(len(sound)):
        assert stepper.call(*sound[:i], None, *sound[i + 1 :]) == ARGUMENT
        assert stepper.state.raw == before
        assert all((v == 321).all() for v in arrays)
    assert loaded.several_check(None) == ARGUMENT
    assert stepper.call(*sound) == OK


def test_messages_say_what_is_wrong(loaded: ctypes.CDLL) -> None:
    loaded.edgernn_message.restype = ctypes.c_char_p
    loaded.edgernn_kernels.restype = ctypes.c_char_p
    messages = [loaded.edgernn_message(status).decode() for status in range(6)]
    assert len(set(messages)) == 6
    words = {ARGUMENT: "null pointer", STATE: "reset", NUMBER: "NaN", BUFFER: "work buffer"}
    for status, word in words.items():
        assert word in messages[status]
    assert messages[5] == loaded.edgernn_message(-1).decode()
    assert loaded.edgernn_kernels() == b"portable"


@pytest.fixture(scope="module")
def helpers(programs: dict[str, Program], tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The header's inline functions as functions of a library."""
    folder = tmp_path_factory.mktemp("helpers")
    write(programs["net"], folder)
    (folder / "helpers.c").write_text(
        '#include "net.h"\n'
        "edgernn_status_t q(const float *v, int16_t *i, size_t n, float s);\n"
        "void d(const int16_t *i, float *v, size_t n, float s);\n"
        "edgernn_status_t quantize(const float *v, int16_t *i);\n"
        "void dequantize(const int16_t *i, float *v);\n"
        "edgernn_status_t q(const float *v, int16_t *i, size_t n, float s)\n"
        "{\n    return edgernn_quantize(v, i, n, s);\n}\n"
        "void d(const int16_t *i, float *v, size_t n, float s)\n"
        "{\n    edgernn_dequantize(i, v, n, s);\n}\n"
        "edgernn_status_t quantize(const float *v, int16_t *i)\n"
        "{\n    return net_quantize_input(v, i);\n}\n"
        "void dequantize(const int16_t *i, float *v)\n"
        "{\n    net_dequantize_output(i, v);\n}\n"
    )
    return library([folder / "helpers.c"], folder / "helpers.so", GCC)


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def floats(rng: np.random.Generator, scale: float) -> NDArray[np.float32]:
    """Ties, what is beside them, the ends of the range, any finite bits at all."""
    ties = ((np.arange(-70000, 70000) * 0.5).astype(np.float32) * np.float32(scale)).astype("f4")
    beside = [np.nextafter(ties, np.float32(side), dtype="f4") for side in (-np.inf, np.inf)]
    bits = rng.integers(0, 1 << 32, 200_000).astype(np.uint32).view(np.float32)
    normal = rng.standard_normal(100_000).astype("f4") * np.float32(scale * 10_000)
    least = np.float32(2.0**-149)
    edges = np.array([0.0, -0.0, least, -least, 3.4028235e38, -3.4028235e38, 1.1754944e-38], "f4")
    values = np.concatenate([ties, *beside, bits, normal, edges])
    return values[np.isfinite(values)]


@pytest.mark.parametrize("tensor", ["x", "y", "unit", "odd", "tiny", "huge"])
def test_floats_become_the_integers_of_the_numpy_runtime(
    programs: dict[str, Program], helpers: ctypes.CDLL, tensor: str
) -> None:
    from edgernn.runtime.program import UNIT, Scale, Tensor

    program = programs["net"]
    scale = {
        "x": program.tensors["x"].scale,
        "y": program.tensors[program.outputs["y"]].scale,
        "unit": UNIT,
        "odd": Scale(16777213, -35),
        "tiny": Scale(1, -100),
        "huge": Scale(16777215, 60),
    }[tensor]
    values = floats(np.random.default_rng(0), float(scale))
    integers = np.zeros(len(values), np.int16)
    factor = ctypes.c_float(float(scale))
    count = ctypes.c_size_t(len(values))
    assert helpers.q(pointer(values), pointer(integers), count, factor) == OK
    np.testing.assert_array_equal(integers, quantize(values, Tensor("v", len(values), scale)))
    every = np.arange(-32768, 32768).astype(np.int16)
    result = np.zeros(len(every), np.float32)
    helpers.d(pointer(every), pointer(result), ctypes.c_size_t(len(every)), factor)
    expected = every * np.float32(float(scale))
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(result.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 3, 4])
def test_what_is_not_finite_is_refused_as_in_python(
    programs: dict[str, Program], helpers: ctypes.CDLL, bad: float, where: int
) -> None:
    tensor = programs["net"].tensors["x"]
    values = np.ones(tensor.size, np.float32)
    values[where] = bad
    integers = np.zeros(tensor.size, np.int16)
    assert helpers.quantize(pointer(values), pointer(integers)) == NUMBER
    with pytest.raises(InputError, match="NaN or infinity"):
        quantize(values, tensor)


def test_a_stream_of_floats_gives_the_floats_of_the_numpy_runtime(
    programs: dict[str, Program], loaded: ctypes.CDLL, helpers: ctypes.CDLL
) -> None:
    program = programs["net"]
    stepper, runtime = Stepper(program, loaded, "net"), StepRuntime(program)
    x = np.random.default_rng(1).standard_normal((200, 5)).astype(np.float32) * 4
    y = np.zeros(3, np.float32)
    integers = np.zeros(5, np.int16)
    for value in x:
        assert helpers.quantize(pointer(value), pointer(integers)) == OK
        status, (out,) = stepper.step(integers)
        assert status == OK
        helpers.dequantize(pointer(out), pointer(y))
        np.testing.assert_array_equal(y.view(np.int32), runtime.step(value).view(np.int32))


def test_the_promised_sizes_are_those_of_the_struct(
    programs: dict[str, Program], tmp_path: Path
) -> None:
    for name, program in programs.items():
        write(program, tmp_path, name)
        upper = name.upper()
        (tmp_path / "sizes.c").write_text(
            f'#include "{name}.h"\n#include <stdio.h>\nint main(void)\n{{\n'
            f'    printf("%zu %d %#x %s", sizeof({name}_state_t), {upper}_STATE_BYTES,\n'
            f"           {upper}_STATE_TAG, {upper}_SHA256);\n    return 0;\n}}\n"
        )
        execute(["gcc", "-std=c99", tmp_path / "sizes.c", "-o", tmp_path / "sizes"])
        size, promised, tag, sha256 = execute([tmp_path / "sizes"]).split()
        initial = {s.name: s.initial for s in program.states}
        assert int(size) == int(promised) == len(state_to_bytes(program, initial))
        assert int(tag, 16) == state_tag(program)
        assert int.from_bytes(bytes.fromhex(sha256)[:4], "little") == state_tag(program)
