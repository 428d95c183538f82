"""Window programs in NumPy: shapes, batches, masks, what is refused, and the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import FileFormatError, InputError, StepRuntime, WindowRuntime, load_program
from edgernn.runtime.file import any_from_bytes, save_program, to_bytes
from edgernn.runtime.program import Program, Scale, Tensor
from edgernn.runtime.window import MAX_STAGES, Source, Stage, Window, validate_window, window_of
from tests.programs import random_program
from tests.runtime.forgery import Json, parts, signed
from tests.windows import random_inputs, random_window


def renamed(program: Program, output: str, ending: str) -> Program:
    return dataclasses.replace(
        program,
        outputs={output: program.outputs["y"]},
        states=tuple(dataclasses.replace(s, name=f"{s.name}_{ending}") for s in program.states),
    )


def small() -> Window:
    """Forwards and backwards over x, and once on the last step of what came of it.

    Values: x (3) -> y, back (3); y at its end and back at its begin -> end (3).
    """
    base = random_program(["gru"], [4], 3, seed=2, head=3)
    head = dataclasses.replace(
        base, tensors={**base.tensors, "x": Tensor("x", 3, base.tensors["head"].scale)}
    )
    x = {"x": Source("x")}
    stages = (
        Stage(base, "forward", x),
        Stage(renamed(base, "back", "r"), "reverse", x),
        Stage(renamed(head, "end", "once"), "once", {"x": Source("back", "first")}),
    )
    outputs = {"each": Source("y"), "began": Source("back", "first"), "end": Source("end")}
    return Window((base.tensors["x"],), stages, outputs, {"note": "small"})


def test_the_small_window_is_sound() -> None:
    # Otherwise the refusals below would prove nothing.
    validate_window(small())


def test_stages_run_where_they_say() -> None:
    window = small()
    x = random_inputs(window, 30, 1)["x"]
    base = window.stages[0].program
    forward, backward = StepRuntime(base).run_int(x), StepRuntime(base).run_int(x[::-1])
    once = StepRuntime(window.stages[2].program).run_int(backward[-1:])[0]
    each, began, end = WindowRuntime(window).run_int(x)
    np.testing.assert_array_equal(each, forward)
    np.testing.assert_array_equal(began, backward[-1])
    np.testing.assert_array_equal(end, once)
    assert not np.array_equal(forward, backward[::-1])
    np.testing.assert_array_equal(WindowRuntime(window).values(x)["back"][0], backward[::-1])


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_its_windows_one_by_one_and_shapes_are_as_said(seed: int) -> None:
    window = random_window(seed)
    runtime, once, tensors = WindowRuntime(window), window.once(), window.tensors()
    for length in (1, 9):
        inputs = random_inputs(window, length, seed, 4)
        batch = runtime.run_int(*inputs.values())
        batch = batch if isinstance(batch, tuple) else (batch,)
        for i in range(4):
            one = runtime.run_int(*(v[i] for v in inputs.values()))
            one = one if isinstance(one, tuple) else (one,)
            for (name, source), whole, single in zip(
                window.outputs.items(), batch, one, strict=True
            ):
                each = source.at == "step" and source.value not in once
                shape = (*([length] if each else []), tensors[source.value].size)
                assert (single.dtype, single.shape) == (np.int16, shape), name
                np.testing.assert_array_equal(whole[i], single, name)


def test_float_arrays_are_quantized_and_scaled_back() -> None:
    window = small()
    runtime, tensors = WindowRuntime(window), window.tensors()
    x = np.random.default_rng(0).normal(0, 1, (2, 6, 3)).astype(np.float32)
    integers = runtime.run_int(np.rint(x / float(tensors["x"].scale)).astype(np.int16))
    for name, floats, raw in zip(window.outputs, runtime.run(x), integers, strict=True):
        scale = float(tensors[window.outputs[name].value].scale)
        assert floats.dtype == np.float32
        np.testing.assert_array_equal(floats, raw * np.float32(scale))


def test_a_window_starts_anew() -> None:
    window = small()
    runtime = WindowRuntime(window)
    x = random_inputs(window, 12, 4)["x"]
    first, second = runtime.run_int(x), runtime.run_int(x)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_streaming_program_is_a_window() -> None:
    program = random_program(["lstm"], [5], 2, seed=3, head=2)
    x = random_inputs(window_of(program), 20, 0)["x"]
    steps = StepRuntime(program).run_int(x)
    np.testing.assert_array_equal(WindowRuntime(program).run_int(x), steps)
    last = dataclasses.replace(program, metadata={"last": ["y"]})
    np.testing.assert_array_equal(WindowRuntime(last).run_int(x), steps[-1])
    assert window_of(program).weight_count == program.weight_count
    assert window_of(program).row_count == program.row_count


def test_counts_are_those_of_all_stages() -> None:
    window = small()
    assert window.weight_count == 3 * window.stages[0].program.weight_count
    assert window.row_count == 3 * window.stages[0].program.row_count
    assert window.once() == {"end"}
    assert set(window.tensors()) == {"x", "y", "back", "end"}


def bad_arrays() -> Iterator[tuple[Any, ...]]:
    good = np.zeros((4, 3), np.int16)
    yield ()
    yield good, good
    yield (good[:0],)
    yield (np.zeros((0, 4, 3), np.int16),)
    yield (good[0],)
    yield (good[:, :2],)
    yield (good[None, None],)
    yield (good.astype(np.int32),)
    yield (good.tolist(),)
    yield (None,)


@pytest.mark.parametrize("arrays", list(bad_arrays()), ids=range(10))
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[Any, ...]) -> None:
    with pytest.raises(InputError) as caught:
        WindowRuntime(small()).run_int(*arrays)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_inputs_of_two_lengths_are_refused() -> None:
    window = next(w for w in map(random_window, range(5, 40)) if len(w.inputs) > 1)
    arrays = list(random_inputs(window, 5, 0).values())
    with pytest.raises(InputError, match="T and N at least 1"):
        WindowRuntime(window).run_int(*arrays[:-1], arrays[-1][:-1])


def test_floats_that_are_no_numbers_or_too_few_are_refused() -> None:
    runtime = WindowRuntime(small())
    x = np.zeros((4, 3), np.float32)
    for value in (np.nan, np.inf):
        x[2, 1] = value
        with pytest.raises(InputError):
            runtime.run(x)
    with pytest.raises(InputError, match="has 1 inputs, and 2 were given"):
        runtime.run(x, x)


def stage(i: int, **changes: Any) -> Callable[[Window], Window]:
    def edit(window: Window) -> Window:
        stages = list(window.stages)
        stages[i] = dataclasses.replace(stages[i], **changes)
        return dataclasses.replace(window, stages=tuple(stages))

    return edit


def part(**changes: Any) -> Callable[[Window], Window]:
    return lambda window: dataclasses.replace(window, **changes)


def program(i: int, **changes: Any) -> Callable[[Window], Window]:
    def edit(window: Window) -> Window:
        changed = dataclasses.replace(window.stages[i].program, **changes)
        return stage(i, program=changed)(window)

    return edit


X = small().stages[0].program.tensors["x"]
UNSOUND: dict[str, tuple[Callable[[Window], Window], str]] = {
    "no input": (part(inputs=()), "no input, no stage"),
    "no stage": (part(stages=()), "no input, no stage"),
    "no output": (part(outputs={}), "no input, no stage"),
    "too many stages": (
        part(stages=small().stages[:1] * (MAX_STAGES + 1)), "or too many stages"
    ),
    "input twice": (part(inputs=(X, X)), "'x' is not an input name"),
    "odd input": (part(inputs=(dataclasses.replace(X, name="a b"),)), "not an input name"),
    "odd output": (part(outputs={"a\nb": Source("y")}), "is not an output name"),
    "direction": (stage(1, direction="sideways"), "stage 1 runs 'sideways'"),
    "no source": (stage(1, sources={}), "stage 1 does not say where its inputs come from"),
    "source of no input": (
        stage(0, sources={"x": Source("x"), "z": Source("x")}), "does not say where"
    ),
    "unknown source": (stage(0, sources={"x": Source("z")}), "'z' is not computed when"),
    "value of a later stage": (
        stage(0, sources={"x": Source("back")}), "'back' is not computed when"
    ),
    "value of itself": (stage(0, sources={"x": Source("y")}), "'y' is not computed when"),
    "unknown place": (stage(0, sources={"x": Source("x", "middle")}), "'x' is not computed when"),
    "another size": (
        part(inputs=(dataclasses.replace(X, size=4),)), "reads x at another size or scale"
    ),
    "another scale": (
        part(inputs=(dataclasses.replace(X, scale=Scale(1, -9)),)), "x at another size or scale"
    ),
    "once reads every step": (
        stage(2, sources={"x": Source("back")}), "'back' is read at every step by what runs once"
    ),
    "output of one at a place": (
        part(outputs={"end": Source("end", "last")}), "'end', of which there is one"
    ),
    "unknown output": (part(outputs={"end": Source("z")}), "'z' is not computed"),
    "output at no place": (part(outputs={"end": Source("y", "once")}), "'y' is not computed"),
    "value twice": (
        program(1, outputs={"y": small().stages[1].program.outputs["back"]}),
        "value 'y' is computed twice",
    ),
    "value named as an input": (
        program(1, outputs={"x": small().stages[1].program.outputs["back"]}),
        "value 'x' is computed twice",
    ),
    "state twice": (
        program(1, states=small().stages[0].program.states), "two states have the name"
    ),
    "unsound program": (program(1, operators=()), "stage 1 of the window program is not a valid"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "reason"), UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_window_is_refused(edit: Callable[[Window], Window], reason: str) -> None:
    with pytest.raises(FileFormatError, match=reason) as caught:
        validate_window(edit(small()))
    assert len(str(caught.value)) < 300
    with pytest.raises(FileFormatError):
        WindowRuntime(edit(small()))


def test_what_there_is_once_is_not_read_at_every_step() -> None:
    window = small()
    single = window.stages[2].program
    later = renamed(dataclasses.replace(single, outputs={"y": single.outputs["end"]}), "z", "z")
    for direction in ("forward", "reverse"):
        more = Stage(later, direction, {"x": Source("end")})
        wrong = dataclasses.replace(window, stages=(*window.stages, more))
        with pytest.raises(FileFormatError, match="'end', of which there is one, is read at every"):
            validate_window(wrong)
    right = Stage(later, "once", {"x": Source("end")})
    validate_window(dataclasses.replace(window, stages=(*window.stages, right)))


def test_the_parts_of_a_window_cannot_be_written() -> None:
    window = small()
    with pytest.raises(TypeError):
        window.outputs["z"] = Source("x")  # type: ignore[index]
    with pytest.raises(TypeError):
        window.stages[0].sources["z"] = Source("x")  # type: ignore[index]


@pytest.mark.parametrize("seed", range(10))
def test_a_file_holds_the_same_window(seed: int, tmp_path: Path) -> None:
    window = random_window(seed)
    path = tmp_path / "model.safetensors"
    save_program(window, path)
    loaded = WindowRuntime.load(path)
    assert to_bytes(loaded.program) == path.read_bytes()
    inputs = random_inputs(window, 8, seed).values()
    found, wanted = loaded.run_int(*inputs), WindowRuntime(window).run_int(*inputs)
    if not isinstance(found, tuple):
        found, wanted = (found,), (wanted,)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FileFormatError, match="is a window program"):
        load_program(path)
    with pytest.raises(FileFormatError, match="is a window program"):
        StepRuntime.load(path)


def read(data: bytes) -> Any:
    return any_from_bytes(np.frombuffer(data, np.uint8), "m.safetensors")


def refusal(data: bytes) -> str:
    with pytest.raises(FileFormatError) as caught:
        read(data)
    message = str(caught.value)
    assert "m.safetensors" in message
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_a_damaged_file_is_refused() -> None:
    genuine = to_bytes(small())
    assert to_bytes(read(signed(*parts(genuine)))) == genuine
    rng = np.random.default_rng(0)
    for position in range(0, len(genuine), 7):
        damaged = bytearray(genuine)
        damaged[position] ^= 1 << int(rng.integers(8))
        refusal(bytes(damaged))
        refusal(genuine[:position])
    refusal(genuine + b"\0")


EDITS: dict[str, Callable[[Json], object]] = {
    "stages is null": lambda d: d.update(stages=None),
    "stages is a mapping": lambda d: d.update(stages={}),
    "no stages": lambda d: d.update(stages=[]),
    "too many stages": lambda d: d.update(stages=d["stages"] * 200),
    "stage is null": lambda d: d["stages"].__setitem__(0, None),
    "stage is missing": lambda d: d["stages"].pop(),
    "stages turned around": lambda d: d["stages"].reverse(),
    "no program": lambda d: d["stages"][0].pop("program"),
    "program is a window": lambda d: d["stages"][0].update(program=json.loads(json.dumps(d))),
    "program is a list": lambda d: d["stages"][0].update(program=[]),
    "no direction": lambda d: d["stages"][0].pop("direction"),
    "direction is a list": lambda d: d["stages"][0].update(direction=["forward"]),
    "direction is odd": lambda d: d["stages"][0].update(direction="no\nsuch" * 100),
    "sources is a list": lambda d: d["stages"][0].update(sources=[]),
    "source is a text": lambda d: d["stages"][0]["sources"].update(x="xy"),
    "source of one part": lambda d: d["stages"][0]["sources"].update(x=["x"][:0]),
    "source of three parts": lambda d: d["stages"][0]["sources"].update(x=["x", "step", "x"]),
    "source of numbers": lambda d: d["stages"][0]["sources"].update(x=[1, 2]),
    "source is long": lambda d: d["stages"][0]["sources"].update(x=["\n" * 9999, "step"]),
    "inputs is a mapping": lambda d: d.update(inputs={}),
    "inputs are missing": lambda d: d.pop("inputs"),
    "input is short": lambda d: d["inputs"][0].pop(),
    "input of size 0": lambda d: d["inputs"][0].__setitem__(1, 0),
    "input of a true size": lambda d: d["inputs"][0].__setitem__(1, True),
    "input of a huge size": lambda d: d["inputs"][0].__setitem__(1, 10**300),
    "input of an even mantissa": lambda d: d["inputs"][0].__setitem__(2, 2),
    "input of an odd name": lambda d: d["inputs"][0].__setitem__(0, "a\0b"),
    "input name is a number": lambda d: d["inputs"][0].__setitem__(0, 3),
    "input name is a list": lambda d: d["inputs"][0].__setitem__(0, ["x"]),
    "an unread input of size 0": lambda d: d["inputs"].append(["z", 0, 1, 0]),
    "an unread input of a huge size": lambda d: d["inputs"].append(["z", 1 << 40, 1, 0]),
    "outputs is a list": lambda d: d.update(outputs=[]),
    "outputs are missing": lambda d: d.pop("outputs"),
    "output is null": lambda d: d["outputs"].update(each=None),
    "output of an odd name": lambda d: d["outputs"].update({"\u202e": ["y", "step"]}),
    "metadata is a list": lambda d: d.update(metadata=[1]),
    "matrix of no stage": lambda d: d["stages"][2]["program"]["operators"].clear(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_forged_description_is_refused(edit: Callable[[Json], object]) -> None:
    header, description, payload = parts(to_bytes(small()))
    edit(description)
    refusal(signed(header, description, payload))


@pytest.mark.parametrize("key", ["9/z.weight", "z.weight", "00/z.weight", "/", "0/"])
def test_an_array_of_no_stage_is_refused(key: str) -> None:
    header, description, payload = parts(to_bytes(small()))
    end = max(entry["data_offsets"][1] for entry in header.values())
    header[key] = {"dtype": "I8", "shape": [2], "data_offsets": [end, end + 2]}
    assert "belongs to nothing" in refusal(signed(header, description, payload + b"\0\0"))
