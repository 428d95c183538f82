"""Token ids as input: the table in int8, ids checked in data, clamped by engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import edgernn
from edgernn.arrays import load_calibration, load_example, load_sequences
from edgernn.calibrate import as_sequences
from edgernn.float_engine import run_float
from edgernn.importer import import_model
from edgernn.importer.pt2 import quiet
from edgernn.lowering.embedding import table_scale
from edgernn.quantization import Quantized
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import InputError, UnsupportedError
from edgernn.runtime.program import Scale
from edgernn.streams import verification_streams
from tests.edgernn.cells import assert_same_everywhere, float_run, worst_error
from tests.programs import reference_run

ROWS, SIZE, HIDDEN, STEPS = 37, 6, 5, 25


class Tokens(nn.Module):
    """An embedding, a GRU, and a head if head > 0."""

    def __init__(self, rows: int = ROWS, size: int = SIZE, hidden: int = HIDDEN, head: int = 0):
        super().__init__()
        self.table = nn.Embedding(rows, size, padding_idx=0)
        self.gru = nn.GRU(size, hidden, batch_first=True)
        self.head = nn.Linear(hidden, head) if head else None

    def forward(self, ids: Tensor) -> Tensor:
        y = self.gru(self.table(ids))[0]
        return y if self.head is None else self.head(y)


class Two(nn.Module):
    """Words and a kind of each, in one input (N, T, 2), and a number beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(ROWS, SIZE), nn.Embedding(3, 2)
        self.gru = nn.GRU(SIZE + 3, HIDDEN, batch_first=True)

    def forward(self, ids: Tensor, x: Tensor) -> Tensor:
        parts = [self.words(ids[..., 0].long()), self.kinds(ids[..., 1]), x]
        return self.gru(torch.cat(parts, dim=-1))[0]


def drawn(rows: int, *shape: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, rows, shape)


def made(model: nn.Module, ids: NDArray[np.int64]) -> Quantized:
    program = edgernn.quantize(model.eval(), (torch.from_numpy(ids[:2]),), calibration=ids)
    assert isinstance(program, Quantized)
    return program


@pytest.fixture(scope="module")
def program() -> Quantized:
    torch.manual_seed(0)
    return made(Tokens(), drawn(ROWS, 12, STEPS))


@pytest.mark.parametrize(
    ("rows", "size", "hidden", "head"),
    [(ROWS, SIZE, HIDDEN, 0), (2, 1, 3, 2), (1000, 33, 17, 5), (32768, 2, 4, 0)],
)
def test_every_engine_and_float(rows: int, size: int, hidden: int, head: int) -> None:
    torch.manual_seed(rows)
    model, ids = Tokens(rows, size, hidden, head), drawn(rows, 16, STEPS)
    program = made(model, ids)
    assert program.tensors["x"].scale == Scale(1, 0)
    assert program.tensors["x"].size == 1
    numbers = ids[..., None].astype(np.float32)
    expected = model(torch.from_numpy(ids)).detach().numpy()
    np.testing.assert_allclose(float_run(program, numbers), expected, atol=1e-5)
    assert worst_error(program, numbers) < 0.05
    given = {"x": np.concatenate([*numbers[:4], [[-1], [-32768], [32767]]]).astype(np.int16)}
    assert assert_same_everywhere(program, inputs=given) > 1000
    assert assert_same_everywhere(program, 200) > 2000


def test_ids_in_a_column_beside_others_and_numbers() -> None:
    torch.manual_seed(1)
    model = Two().eval()
    ids = np.stack([drawn(ROWS, 8, STEPS), drawn(3, 8, STEPS, seed=1)], axis=-1)
    x = np.random.default_rng(0).standard_normal((8, STEPS, 1)).astype(np.float32)
    example = (torch.from_numpy(ids[:2]), torch.from_numpy(x[:2]))
    program = edgernn.quantize(model, example, calibration=(ids, x))
    assert isinstance(program, Quantized)
    assert program.graph is not None
    assert program.graph.tokens["x0"].tolist() == [ROWS, 3]
    results, _ = run_float(program.graph, {"x0": ids, "x1": x})
    expected = model(torch.from_numpy(ids), torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(results["y"], expected, atol=1e-5)
    got = StepRuntime(program).run(ids, x)
    assert np.abs(got - expected).max() < 0.03
    assert assert_same_everywhere(program, 300) > 1000
    wrong = ids.copy()
    wrong[3, 4, 1] = 3
    with pytest.raises(InputError, match="no id of its embedding of 3 rows"):
        as_sequences(program.graph, (wrong, x))


def test_the_row_of_padding_idx_is_a_row_like_others(program: Quantized) -> None:
    table = next(op.table for op in program.operators if op.kind == "embedding")
    assert table is not None
    assert table.shape == (ROWS, SIZE)
    assert not table[0].any()


@pytest.mark.parametrize("reach", [1e-4, 0.7, 1.0, 127.0, 127.5, 191.0, 300.0, 5e4])
def test_the_tighter_scale_of_two(reach: float) -> None:
    scale = table_scale(reach)
    assert reach <= 127 * float(scale) < 1.51 * reach
    assert scale.mantissa in (1, 3)


def test_an_id_beyond_the_table_counts_as_the_nearest(program: Quantized) -> None:
    ids = np.array([[-5], [40], [3], [32767]], np.int16)
    clamped = np.clip(ids, 0, ROWS - 1).astype(np.int16)
    runtime = StepRuntime(program)
    first = runtime.run_int(ids)
    runtime.reset()
    np.testing.assert_array_equal(first, runtime.run_int(clamped))
    np.testing.assert_array_equal(first, reference_run(program, [ids])[0][0])
    assert program.graph is not None
    floats = [run_float(program.graph, {"x": v[None]})[0]["y"] for v in (ids, clamped)]
    np.testing.assert_array_equal(*floats)


@pytest.mark.parametrize("value", [-1, ROWS, 0.5, 1e9])
def test_floats_that_are_no_ids_are_refused(program: Quantized, value: float) -> None:
    runtime = StepRuntime(program)
    before = runtime.state
    with pytest.raises(InputError, match=rf"no id .* 0 to {ROWS - 1}"):
        runtime.step(np.array([value]))
    assert all((runtime.state[n] == v).all() for n, v in before.items())


def test_calibration_data_of_ids(program: Quantized) -> None:
    graph, ids = program.graph, drawn(ROWS, 3, STEPS)
    assert graph is not None
    expected = ids[..., None].astype(np.float32)
    several: list[Any] = [ids, ids[..., None], ids.astype(np.float32), list(ids), {"x": ids}]
    for data in several:
        for got, wanted in zip(as_sequences(graph, data), expected, strict=True):
            np.testing.assert_array_equal(got["x"], wanted)
    ragged = as_sequences(graph, [ids[0], ids[1, :7], ids[2][:, None]])
    assert [len(s["x"]) for s in ragged] == [STEPS, 7, STEPS]


@pytest.mark.parametrize("value", [-1, ROWS, 2.5])
def test_calibration_data_that_is_no_id_is_refused(program: Quantized, value: float) -> None:
    assert program.graph is not None
    ids = drawn(ROWS, 3, STEPS).astype(np.float64)
    ids[1, 2] = value
    with pytest.raises(InputError, match=rf"sequence 1 of x holds .* 0 to {ROWS - 1}"):
        as_sequences(program.graph, ids)


def test_verification_draws_ids_within_the_table_and_beyond(program: Quantized) -> None:
    streams = verification_streams(program, program.sample, 2000, 0)
    drawn_ids = np.concatenate([s.inputs["x"] for s in streams[1:]])
    within = ((drawn_ids >= 0) & (drawn_ids < ROWS)).mean()
    assert 0.4 < within < 0.95
    assert (drawn_ids < 0).any()
    assert len(np.unique(drawn_ids)) > 300


def test_files_and_report(program: Quantized, tmp_path: Path) -> None:
    report = edgernn.export(program, tmp_path / "build", formats=("tflite", "onnx", "c"))
    (table,) = report["embeddings"].values()
    assert table == {"rows": ROWS, "columns": SIZE, "bytes": ROWS * SIZE}
    assert report["verification"]["ok"]
    # The float reference takes the ids as float32, (N, T, 1), and finds the rows with Gather.
    (y, _) = report["verification"]["distance"]["tensors"]
    assert y["snr_db"] > 20
    assert json.loads((tmp_path / "build" / "report.json").read_text())["embeddings"]
    ids = drawn(ROWS, 3, STEPS)
    np.savez(tmp_path / "ids.npz", x=ids, lengths=np.array([STEPS, 4, 9]))
    loaded = load_sequences(str(tmp_path / "ids.npz"), program)
    assert [s["x"].shape for s in loaded] == [(STEPS, 1), (4, 1), (9, 1)]
    assert program.graph is not None
    np.save(tmp_path / "ids.npy", ids)
    assert load_calibration(str(tmp_path / "ids.npy"), program.graph)["x"].shape == (3, STEPS)
    (example,) = load_example(str(tmp_path / "ids.npy"))
    assert example.dtype == torch.int64
    assert tuple(example.shape) == (2, 16)


def case(name: str, forward: Any, example: Tensor, *words: str) -> Any:
    return pytest.param(forward, example, words, id=name)


IDS = torch.zeros(2, 9, dtype=torch.long)


@pytest.mark.parametrize(
    ("forward", "example", "words"),
    [
        case("ids as numbers", lambda m, i: m.gru(i.unsqueeze(-1).float().expand(-1, -1, SIZE))[0],
             IDS, "computes with an input of integers", "nn.Embedding"),
        case("computed ids", lambda m, i: m.gru(m.table((i + 1) % 7))[0], IDS,
             "computes with an input of integers"),
        case("ids from floats", lambda m, x: m.gru(m.table(x.long()))[0], torch.zeros(2, 9),
             "casts to integers"),
        case("several a step", lambda m, i: m.gru(m.table(i).sum(2))[0],
             torch.zeros(2, 9, 3, dtype=torch.long), "embeds 3 ids of a step", "torch.cat"),
        case("a bag", lambda m, i: m.gru(nn.functional.one_hot(i, SIZE).float())[0], IDS,
             "use nn.Embedding"),
    ],
)  # fmt: skip
def test_other_uses_are_refused(forward: Any, example: Tensor, words: tuple[str, ...]) -> None:
    model = Tokens().eval()
    model.forward = forward.__get__(model)  # type: ignore[method-assign]
    with pytest.raises(UnsupportedError) as caught:
        import_model(model, (example,))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_table_too_long_for_an_id_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"32769 rows.*most frequent tokens"):
        import_model(Tokens(32769).eval(), (IDS,))


def test_int32_ids_of_an_exported_program() -> None:
    model, ids = Tokens().eval(), drawn(ROWS, 4, STEPS)
    with quiet():
        exported = torch.export.export(model, (torch.from_numpy(ids[:2]).int(),))
    results, _ = run_float(import_model(exported), {"x": ids[..., None]})
    np.testing.assert_allclose(results["y"], model(torch.from_numpy(ids)).detach(), atol=1e-5)
