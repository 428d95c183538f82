"""Each engine of a benchmark computes what it must, and one that does not is found out."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import edgernn
from edgernn.bench.agreement import References
from edgernn.bench.engines import KINDS
from edgernn.bench.engines.base import Job
from edgernn.bench.engines.torch_dynamic import left_in_float, quantized
from edgernn.bench.engines.torch_layers import layer
from edgernn.bench.engines.torch_model import FedBack, StepModel, WindowModel
from edgernn.bench.floats import graph_of, graph_to_bytes
from edgernn.bench.prepare import Model, Prepared, prepare, read_folder
from edgernn.cells import CELLS
from edgernn.feedback import feed_back
from edgernn.float_engine import run_float
from edgernn.float_file import float_from_bytes
from edgernn.graph import Carried, Graph, Node
from edgernn.layers import LAYERS_FLOAT
from edgernn.native.compiler import Compiler
from edgernn.quantization import Quantized, QuantizedWindow
from edgernn.runtime.errors import EdgernnError, FileFormatError
from tests.edgernn.one_cell import one_cell
from tests.exporters.c_host import PORTABLE
from tests.libraries import QUICK

HERE = [name for name in KINDS if name != "tflite-runtime"]


def data(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((3, 30, 4)).astype(np.float32)


class Net(nn.Module):
    def __init__(self, cell: Any, width: int) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.cell(x)[0])
        return y


def quantized_model(module: nn.Module) -> Model:
    made = edgernn.quantize(module.eval(), (torch.from_numpy(data()[:2]),), calibration=data())
    assert isinstance(made, (Quantized, QuantizedWindow))
    return Model(made, made.graph, made.sample)


@pytest.fixture(scope="module", autouse=True)
def quick_compiler() -> Iterator[None]:
    """The optimizer takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compiler, "native_flags", lambda self: (*PORTABLE, *QUICK))
        yield


@pytest.fixture(scope="module")
def streaming() -> Model:
    torch.manual_seed(0)
    return quantized_model(Net(nn.LSTM(4, 6, 2, batch_first=True), 6))


@pytest.fixture(scope="module")
def streaming_job(streaming: Model, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(streaming, tmp_path_factory.mktemp("step"))


@pytest.fixture(scope="module")
def window_job(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    torch.manual_seed(1)
    model = quantized_model(Net(nn.GRU(4, 6, batch_first=True, bidirectional=True), 12))
    return prepare(model, tmp_path_factory.mktemp("window"), window=7)


def loaded(name: str, job: Job) -> Any:
    return importlib.import_module(f"edgernn.bench.engines.{KINDS[name].module}").load(job)


def outputs_of(name: str, prepared: Prepared, count: int) -> list[NDArray[Any]]:
    """As a worker's check finds them, in this process."""
    with torch.inference_mode():
        engine = loaded(name, prepared.job)
        items = list(engine.items(prepared.job))[:count]
        # Some steps before: a reset must forget them.
        for item in items[:3]:
            engine.step(*item)
        engine.reset()
        series = [[np.array(v) for v in engine.outputs(engine.step(*i))] for i in items]
    return [np.stack(list(v)) for v in zip(*series, strict=True)]


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("fixture", ["streaming_job", "window_job"])
def test_every_engine_computes_what_it_must(
    name: str, fixture: str, request: pytest.FixtureRequest
) -> None:
    prepared: Prepared = request.getfixturevalue(fixture)
    assert prepared.absent(name) is None
    references = References(prepared)
    found = outputs_of(name, prepared, references.count(name))
    agreement = references.compare(name, found)
    assert agreement.wrong is None
    assert agreement.compared > 20
    if KINDS[name].exact:
        assert (agreement.differing, agreement.error) == (0, 0.0)
    elif name == "torch-int8":
        assert 0.0 < agreement.error < 0.2
    else:
        assert agreement.error < 1e-5


def test_a_program_that_streams_is_measured_in_windows_too(
    streaming: Model, tmp_path: Path
) -> None:
    prepared = prepare(streaming, tmp_path, window=5)
    references = References(prepared)
    for name in ("numpy", "native", "litert", "onnx", "onnx-float", "torch"):
        found = outputs_of(name, prepared, references.count(name))
        assert references.compare(name, found).wrong is None, name


def test_an_engine_that_computes_something_else_is_found_out(streaming_job: Prepared) -> None:
    references = References(streaming_job)
    bits = outputs_of("numpy", streaming_job, references.count("numpy"))
    bits[0][-1, 0] += 1
    agreement = references.compare("litert", bits)
    assert (agreement.differing, agreement.wrong is None) == (1, False)
    floats = outputs_of("onnx-float", streaming_job, references.count("onnx-float"))
    assert references.compare("torch", [v * 1.01 for v in floats]).wrong
    assert references.compare("torch", [v * np.nan for v in floats]).wrong
    assert references.compare("torch-int8", [v * np.nan for v in floats]).wrong
    assert references.compare("torch", [v[:, :1] for v in floats]).wrong
    assert references.compare("numpy", [bits[0][:, :1]]).wrong


def test_float_edges_are_fed_floats_and_give_the_same_bits(
    streaming: Model, tmp_path: Path
) -> None:
    folder = tmp_path / "build"
    edgernn.export(streaming.program, folder, float_io=True, verify_steps=10)
    (tmp_path / "job").mkdir()
    prepared = prepare(read_folder(folder), tmp_path / "job", native=False)
    references = References(prepared)
    for name in ("litert", "onnx"):
        assert references.compare(name, outputs_of(name, prepared, 64)).wrong
        # Of fewer steps the shape differs; of all of them nothing does.
        whole = outputs_of(name, prepared, references.count(name))
        assert references.compare(name, whole).wrong is None
        assert "float edges" in loaded(name, prepared.job).notes[0]
    assert prepared.reasons["library.so"]
    assert prepared.absent("native")
    assert prepared.absent("numpy") is None


def test_a_folder_without_floats_says_how_to_have_them(streaming: Model, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    plain = dataclasses.replace(streaming.program, float_model=None)  # type: ignore[call-arg]
    edgernn.export(plain, folder, formats=("numpy",), verify_steps=10)
    for name in ("model.float.safetensors", "model.float.onnx"):
        (folder / name).unlink(missing_ok=True)
    (tmp_path / "job").mkdir()
    prepared = prepare(read_folder(folder), tmp_path / "job", native=False)
    assert "--model" in str(prepared.absent("torch"))
    assert "--model" in str(prepared.absent("onnx-float"))
    assert prepared.absent("litert") is None
    shutil.rmtree(tmp_path / "job")
    (tmp_path / "job").mkdir()
    again = prepare(read_folder(folder, streaming.graph), tmp_path / "job", native=False)
    assert again.absent("torch") is None
    references = References(again)
    found = outputs_of("torch", again, references.count("torch"))
    assert references.compare("torch", found).wrong is None


def test_a_float_model_of_another_network_is_refused(streaming: Model, tmp_path: Path) -> None:
    edgernn.export(streaming.program, tmp_path, formats=("numpy",), verify_steps=10)
    other = one_cell("gru", True, False, True)
    with pytest.raises(FileFormatError, match="is of another model: its inputs"):
        read_folder(tmp_path, other)
    renamed = [Carried(f"old_{s.name}", s.value, s.initial) for s in streaming.graph.states]
    nodes = (dataclasses.replace(streaming.graph.nodes[0], carried=tuple(renamed)),)
    another = dataclasses.replace(streaming.graph, nodes=nodes + streaming.graph.nodes[1:])
    with pytest.raises(FileFormatError, match="its states"):
        read_folder(tmp_path, another)


def test_a_model_is_imported_from_a_file_or_a_factory(tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = Net(nn.GRU(4, 5, batch_first=True), 5).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(net, (torch.from_numpy(data()[:2]),))
    torch.export.save(exported, tmp_path / "model.pt2")
    graph = graph_of(str(tmp_path / "model.pt2"))
    content = graph_to_bytes(graph)
    again = float_from_bytes(np.frombuffer(content, np.uint8), "x").graph
    x = {"x": data()}
    wanted, _ = run_float(graph, x)
    assert np.array_equal(run_float(again, x)[0]["y"], wanted["y"])
    with pytest.raises(EdgernnError, match="--weights"):
        graph_of(str(tmp_path / "model.pt2"), tmp_path / "w.safetensors")
    with pytest.raises(EdgernnError, match="sample"):
        graph_of("package.module:factory")


# -- PyTorch modules from a graph ---------------------------------------------------------------


def run_steps(graph: Graph, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[Any]]:
    """Outputs (T, O) of the module of one step, one stream."""
    module = (FedBack if graph.feedback else StepModel)(graph).eval()
    states = [torch.from_numpy(s.initial.copy())[None] for s in graph.states]
    series = []
    with torch.inference_mode():
        for t in range(len(next(iter(inputs.values())))):
            x = [torch.from_numpy(inputs[name][t : t + 1]) for name in graph.inputs]
            outputs, states = module(x, states)
            series.append([value.numpy()[0] for value in outputs])
    return [np.stack(list(v)) for v in zip(*series, strict=True)]


def random_inputs(graph: Graph, steps: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(len(graph.nodes))
    found = {n: rng.standard_normal((steps, graph.sizes[n])) for n in graph.inputs}
    for name in graph.masks:
        found[name] = rng.integers(0, 2, (steps, 1)).astype(np.float64)
    return {name: value.astype(np.float32) for name, value in found.items()}


def symmetric(node: Node) -> Node:
    """The weights of a Hopfield network are, and its two forms need not agree on others."""
    if node.kind != "hopfield":
        return node
    weight = node.arrays["weight"]
    return dataclasses.replace(node, arrays={"weight": weight + weight.T})


def without_picks(graph: Graph) -> Graph:
    """A graph that streams: what is picked from a window is left out."""
    nodes = tuple(node for node in graph.nodes if node.kind not in ("first", "last"))
    outputs = tuple(o for o in graph.outputs if not o.name.startswith("picked"))
    nodes = tuple(map(symmetric, nodes))
    return dataclasses.replace(graph, nodes=nodes, outputs=outputs)


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_every_cell_has_a_step_and_a_window_in_pytorch(kind: str) -> None:
    for masked in (False, True):
        graph = without_picks(one_cell(kind, masked, False, True))
        inputs = random_inputs(graph, 9)
        wanted, _ = run_float(graph, {n: v[None] for n, v in inputs.items()})
        for output, got in zip(graph.outputs, run_steps(graph, inputs), strict=True):
            np.testing.assert_allclose(got, wanted[output.name][0], rtol=1e-4, atol=1e-5)
        backwards = one_cell(kind, masked, True, True)
        backwards = dataclasses.replace(backwards, nodes=tuple(map(symmetric, backwards.nodes)))
        wanted, _ = run_float(backwards, {n: v[None] for n, v in inputs.items()})
        x = [torch.from_numpy(inputs[name])[None] for name in backwards.inputs]
        with torch.inference_mode():
            results = WindowModel(backwards).eval()(x)
        for output, result in zip(backwards.outputs, results, strict=True):
            right = wanted[output.name][0]
            right = right[-1] if output.last else right
            np.testing.assert_allclose(result.numpy()[0], right, rtol=1e-4, atol=1e-5)


ARRAYS = {
    "linear": {"weight": (3, 5), "bias": (3,)},
    "affine": {"weight": (5,), "bias": (5,)},
    "layer_norm": {"weight": (5,), "bias": (5,)},
    "embedding": {"table": (7, 3)},
}
NUMBERS = {
    "layer_norm": {"eps": 1e-5},
    "leaky_relu": {"negative_slope": 0.2},
    "celu": {"alpha": 0.7},
    "elu": {"alpha": 0.7, "scale": 1.1, "input_scale": 0.9},
    "clamp": {"min": -0.4, "max": 0.9},
}


@pytest.mark.parametrize("kind", sorted(LAYERS_FLOAT))
def test_every_layer_has_a_form_in_pytorch(kind: str) -> None:
    rng = np.random.default_rng(0)
    shapes = ARRAYS.get(kind, {})
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    two = kind in ("add", "sub", "mul", "maximum", "concat")
    node = Node(kind, ("x", "z")[: 1 + two], ("y",), arrays, begin=2 if kind == "slice" else 0,
                numbers=NUMBERS.get(kind, {}))  # fmt: skip
    x = [rng.standard_normal((4, 5)).astype(np.float32) for _ in node.inputs]
    if kind == "embedding":
        x = [np.array([[0], [6], [99], [-3]], np.float32)]
    sizes = {"x": 5, "z": 5, "y": 2}
    wanted = LAYERS_FLOAT[kind](sizes, node, x)
    with torch.inference_mode():
        found = layer(node, sizes)(*map(torch.from_numpy, x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


def test_what_is_fed_back_is_read_where_nothing_is_given() -> None:
    made = edgernn.quantize(
        Net(nn.GRU(3, 6, batch_first=True), 6).eval(),
        (torch.zeros(2, 9, 3),),
        calibration=np.random.default_rng(0).standard_normal((3, 9, 3)).astype(np.float32),
    )
    assert made.graph is not None
    graph = feed_back(made.graph)
    inputs = random_inputs(graph, 12)
    inputs["given"][4:] = 0.0
    wanted, _ = run_float(graph, {n: v[None] for n, v in inputs.items()})
    np.testing.assert_allclose(run_steps(graph, inputs)[0], wanted["y"][0], rtol=1e-4, atol=1e-5)


def test_what_pytorch_s_int8_leaves_in_float_is_said() -> None:
    graph = without_picks(one_cell("gru", False, False, True))
    assert left_in_float(StepModel(graph)) == ["GRUCell"]
    assert left_in_float(quantized(StepModel(graph))) == []
    # As a whole window it is one nn.RNN, which quantize_dynamic passes over.
    elman = one_cell("rnn_tanh", False, True, True)
    assert left_in_float(quantized(WindowModel(elman))) == ["RNN"]
    own = without_picks(one_cell("mgu", False, False, True))
    assert left_in_float(quantized(StepModel(own))) == ["mgu"]


def test_a_torch_without_quantize_dynamic_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module("torch.ao.quantization")
    monkeypatch.delattr(package, "quantize_dynamic")
    with pytest.raises(ImportError, match="any more"):
        quantized(StepModel(without_picks(one_cell("gru", False, False, True))))


def test_a_job_is_what_was_saved(tmp_path: Path) -> None:
    job = Job(str(tmp_path), 7, ("x", "mask"), ("y",), (), ("h",), False, ("y",))
    job.save()
    assert Job.load(str(tmp_path)) == job
    assert json.loads((tmp_path / "job.json").read_text())["window"] == 7
