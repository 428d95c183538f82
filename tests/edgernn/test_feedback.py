"""Generation: an output fed back as the next step's input, on every engine alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor, nn

import edgernn
from edgernn.cli import main
from edgernn.feedback import feed_back
from edgernn.float_engine import run_float
from edgernn.graph import Graph
from edgernn.importer import import_model
from edgernn.importer.pt2 import quiet
from edgernn.quantization import Quantized
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import InputError, UnsupportedError
from tests.edgernn.cells import assert_same_everywhere
from tests.programs import random_integers, reference_run

PRIMED, STEPS = 40, 90
Float32 = NDArray[np.float32]


class Sine(nn.Module):
    """The next value of a wave."""

    def __init__(self, features: int = 1, hidden: int = 12, outputs: int = 1) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.gru(x)[0])
        return y


def waves() -> Float32:
    phases = np.linspace(0, 6, 16)[:, None]
    return np.sin(0.2 * np.arange(120) + phases)[..., None].astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Sine:
    torch.manual_seed(0)
    network, x = Sine(), torch.from_numpy(waves())
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (network(x[:, :-1]) - x[:, 1:]).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 2e-3
    return network.eval()


@pytest.fixture(scope="module")
def program(model: Sine) -> Quantized:
    x = torch.from_numpy(waves()[:2])
    made = edgernn.quantize(model, (x,), calibration=waves(), feedback={"y": "x"})
    assert isinstance(made, Quantized)
    return made


def primed() -> tuple[Float32, Float32]:
    """x, of which only the first PRIMED steps are there, and what is given."""
    x, given = np.full((STEPS, 1), 9.0, np.float32), np.zeros((STEPS, 1), np.float32)
    x[:PRIMED], given[:PRIMED] = waves()[3, :PRIMED], 1
    return x, given


def torch_generates(model: Sine, x: Float32) -> Float32:
    state: Any = None
    results: list[Tensor] = []
    with torch.no_grad():
        for t in range(STEPS):
            now = torch.from_numpy(x[t])[None, None] if t < PRIMED else results[-1]
            y, state = model.gru(now, state)
            results.append(model.head(y))
    return torch.cat(results, dim=1)[0].numpy()


def test_the_float_engine_generates_what_torch_does(program: Quantized, model: Sine) -> None:
    assert program.graph is not None
    x, given = primed()
    expected = torch_generates(model, x)
    results, states = run_float(program.graph, {"x": x[None], "given": given[None]})
    np.testing.assert_allclose(results["y"][0], expected, atol=1e-4)
    np.testing.assert_array_equal(states["last_y"], results["y"][:, -1])
    # In two pieces, the state handed on.
    cut = PRIMED + 7
    first, held = run_float(program.graph, {"x": x[None, :cut], "given": given[None, :cut]})
    second, _ = run_float(program.graph, {"x": x[None, cut:], "given": given[None, cut:]}, held)
    both = np.concatenate([first["y"], second["y"]], axis=1)
    np.testing.assert_allclose(both, results["y"], atol=1e-5)


def test_the_integer_program_generates_the_wave(program: Quantized, model: Sine) -> None:
    x, given = primed()
    got = StepRuntime(program).run(x, given)
    assert np.abs(got - torch_generates(model, x)).max() < 0.1
    # What is not given is not read.
    other = np.where(given != 0, x, -x)
    np.testing.assert_array_equal(got, StepRuntime(program).run(other, given))


def test_it_reads_exactly_its_last_output(program: Quantized, model: Sine) -> None:
    """The closed loop is the open one, fed by hand with what came out."""
    x, given = primed()
    closed = StepRuntime(program).run_int(*_integers(program, x, given))
    by_hand, ones = StepRuntime(program), np.ones(1, np.int16)
    scales = [program.tensors[name].scale for name in ("x", program.outputs["y"])]
    assert scales[0] == scales[1], "nothing is rescaled in between"
    y = np.zeros(1, np.int16)
    for t, now in enumerate(_integers(program, x, given)[0]):
        y = by_hand.step_int(now if t < PRIMED else y, ones)
        np.testing.assert_array_equal(y, closed[t])
    assert reference_run(program, _integers(program, x, given))[0][0].tolist() == closed.tolist()


def _integers(program: Quantized, *x: Float32) -> list[NDArray[np.int16]]:
    scales = [float(program.tensors[name].scale) for name in program.inputs]
    return [
        np.rint(v / s).clip(-32768, 32767).astype(np.int16) for v, s in zip(x, scales, strict=True)
    ]


def test_every_engine_generates_the_same(program: Quantized) -> None:
    x, given = _integers(program, *primed())
    assert assert_same_everywhere(program, inputs={"x": x, "given": given}) > STEPS
    rng = np.random.default_rng(0)
    loose = {"x": random_integers(rng, (500, 1)), "given": rng.integers(-1, 2, (500, 1))}
    loose["given"] = loose["given"].astype(np.int16)
    assert assert_same_everywhere(program, inputs=loose) > 500


def test_at_the_start_it_reads_zeros(program: Quantized) -> None:
    nothing, zero = np.array([123], np.int16), np.zeros(1, np.int16)
    got = StepRuntime(program).step_int(nothing, zero)
    np.testing.assert_array_equal(got, StepRuntime(program).step_int(zero, zero + 1))


@pytest.mark.parametrize("gain", [0.02, 30.0])
def test_an_output_of_another_size_is_brought_to_the_inputs_scale(gain: float) -> None:
    torch.manual_seed(1)
    model, x = Sine(3, 5, 3).eval(), np.random.default_rng(0).standard_normal((8, 30, 3))
    model.head.weight.data *= gain
    data = x.astype(np.float32)
    example = (torch.from_numpy(data[:2]),)
    program = edgernn.quantize(model, example, calibration=data, feedback={"y": "x"})
    assert isinstance(program, Quantized)
    assert program.graph is not None
    scales = [float(program.tensors[n].scale) for n in ("x", program.outputs["y"])]
    assert scales[0] >= scales[1]
    given = (np.random.default_rng(1).random((8, 30, 1)) < 0.5).astype(np.float32)
    expected, _ = run_float(program.graph, {"x": data, "given": given})
    got = StepRuntime(program).run(data, given)
    assert np.abs(got - expected["y"]).max() < 0.05 * np.abs(expected["y"]).max()
    assert assert_same_everywhere(program, 300) > 1000


def test_two_outputs_fed_back() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
            both = self.head(self.gru(torch.cat([x, u], dim=-1))[0])
            return both[..., :2], both[..., 2:]

    torch.manual_seed(2)
    rng = np.random.default_rng(0)
    x, u = (rng.standard_normal((6, 20, n)).astype(np.float32) for n in (2, 1))
    example = (torch.from_numpy(x[:2]), torch.from_numpy(u[:2]))
    pairs = {"y0": "x0", "y1": "x1"}
    program = edgernn.quantize(Pair().eval(), example, calibration=(x, u), feedback=pairs)
    assert isinstance(program, Quantized)
    assert program.inputs == ("x0", "x1", "given", "given_x1")
    assert {"last_y0", "last_y1"} < {s.name for s in program.states}
    assert assert_same_everywhere(program, 200) > 1000


def test_files_and_distance(program: Quantized, tmp_path: Path) -> None:
    report = edgernn.export(program, tmp_path, formats=("tflite", "onnx", "c"))
    assert report["verification"]["ok"]
    tensors = {t["name"]: t for t in report["verification"]["distance"]["tensors"]}
    assert tensors["y"]["snr_db"] > 25
    assert "state_last_y_next" in tensors


def test_command_line(model: Sine, tmp_path: Path) -> None:
    with quiet():
        exported = torch.export.export(model, (torch.from_numpy(waves()[:2]),))
    torch.export.save(exported, tmp_path / "model.pt2")
    np.save(tmp_path / "x.npy", waves())
    command = ["export", str(tmp_path / "model.pt2"), "--int8", "--calib", str(tmp_path / "x.npy"),
               "--out", str(tmp_path / "out"), "--to", "numpy"]  # fmt: skip
    done = CliRunner().invoke(main, [*command, "--feedback", "y:x"])
    assert done.exit_code == 0, done.output
    runtime = StepRuntime.load(tmp_path / "out" / "model.safetensors")
    assert runtime.program.inputs == ("x", "given")
    failed = CliRunner().invoke(main, [*command, "--feedback", "y"])
    assert failed.exit_code == 1
    assert "OUTPUT:INPUT" in failed.output


@pytest.fixture(scope="module")
def graph(model: Sine) -> Graph:
    return import_model(model, (torch.zeros(1, 8, 1),))


@pytest.mark.parametrize(
    ("output", "fed", "words"),
    [("z", "x", "no output 'z'; it has y"), ("y", "z", "no input 'z' to feed; it has x")],
)
def test_unknown_names_are_refused(graph: Graph, output: str, fed: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        feed_back(graph, output, fed)


def test_an_input_is_fed_once(graph: Graph) -> None:
    with pytest.raises(InputError, match="no input 'x' to feed"):
        feed_back(feed_back(graph))


def test_wrong_sizes_windows_tokens_and_heads_are_refused(graph: Graph) -> None:
    wide = import_model(Sine(2, 4, 3).eval(), (torch.zeros(1, 8, 2),))
    with pytest.raises(InputError, match="has 3 features and the input x 2"):
        feed_back(wide)
    with pytest.raises(UnsupportedError, match="reads its window backwards"):
        feed_back(replace(graph, nodes=tuple(replace(n, reverse=True) for n in graph.nodes)))
    (output,) = graph.outputs
    with pytest.raises(UnsupportedError, match=r"what sigmoid reads.*heads='integer'"):
        feed_back(replace(graph, outputs=(replace(output, head="sigmoid"),)))

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.net = nn.Embedding(5, 2), Sine(2, 4, 1)

        def forward(self, ids: Tensor) -> Tensor:
            y: Tensor = self.net(self.table(ids))
            return y

    tokens = import_model(Tokens().eval(), (torch.zeros(1, 8, dtype=torch.long),))
    with pytest.raises(UnsupportedError, match="choose the next token outside"):
        feed_back(tokens)
