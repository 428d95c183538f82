"""Processes of engines, the benchmark around them, and what it prints and draws."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import edgernn
from edgernn.bench import measure as measuring
from edgernn.bench import process
from edgernn.bench.engines import KINDS
from edgernn.bench.machine import described, machine
from edgernn.bench.measure import chosen, measure
from edgernn.bench.plot import draw, draw_sizes
from edgernn.bench.prepare import Prepared, prepare
from edgernn.bench.process import EngineAbsent, Start, Worker, median_start
from edgernn.bench.sizes import Curve, curve_json, measure_sizes, model_of, parse_sizes
from edgernn.bench.sizes import text as sizes_text
from edgernn.bench.table import as_json, text
from edgernn.cli import main
from edgernn.native.compiler import Compiler
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import EdgernnError, InputError
from edgernn.runtime.program import Program
from tests.exporters.c_host import PORTABLE
from tests.libraries import QUICK


@pytest.fixture(scope="module", autouse=True)
def quick_compiler() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compiler, "native_flags", lambda self: (*PORTABLE, *QUICK))
        yield


@pytest.fixture
def job(tmp_path: Path) -> Prepared:
    (tmp_path / "job").mkdir()
    return prepare(model_of("gru", 4, 3), tmp_path / "job", native=False)


# -- processes ----------------------------------------------------------------------------------


def test_a_worker_starts_checks_and_takes_turns(job: Prepared) -> None:
    with Worker("numpy", Path(job.job.folder)) as worker:
        assert worker.start.version == f"NumPy {np.__version__}"
        assert all(seconds > 0.0 for seconds in worker.start.seconds)
        assert worker.start.bytes[0] > 1 << 20
        stamps, cost, preemptions = worker.turn(50, 5)
        assert stamps.shape == (51,)
        assert bool((np.diff(stamps) > 0).all())
        assert cost > 0.0
        assert preemptions >= 0
        (y,) = worker.check(10)
        program = job.model.program
        assert isinstance(program, Program)
        runtime = StepRuntime(program)
        wanted = [runtime.step_int(v) for v in job.job.stream("int")["x"][:10]]
        assert np.array_equal(y, wanted)
        # A check leaves no trace.
        assert np.array_equal(worker.check(3)[0], wanted[:3])


def test_a_worker_runs_on_one_thread_and_nothing_of_ours_but_the_engine(job: Prepared) -> None:
    assert process.ONE_THREAD["OMP_NUM_THREADS"] == "1"
    with Worker("numpy", Path(job.job.folder)) as worker:
        tasks = Path(f"/proc/{worker._process.pid}/task")
        if tasks.is_dir():
            assert len(list(tasks.iterdir())) == 1


def test_an_environment_without_edgernn_is_enough(
    job: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle hides the package that is installed here."""
    monkeypatch.setattr(process, "BUNDLE", (*process.BUNDLE, "engines/litert.py"))
    adapter = process.bundle(Path(job.job.folder)) / "edgernn/bench/engines/litert.py"
    adapter.write_text(adapter.read_text().replace('f"ai-edge-litert ', 'f"bundled '))
    with Worker("litert", Path(job.job.folder), sys.executable) as worker:
        found = worker.check(20)
        assert worker.start.version.startswith("bundled ")
    with Worker("numpy", Path(job.job.folder)) as worker:
        assert np.array_equal(found[0], worker.check(20)[0])


def test_an_engine_that_is_not_there_says_the_way_out(job: Prepared) -> None:
    folder = Path(job.job.folder)
    with pytest.raises(EngineAbsent, match="cannot be started"):
        Worker("tflite-runtime", folder, "/none/python")
    with pytest.raises(EdgernnError, match="is that a Python"):
        Worker("tflite-runtime", folder, shutil.which("echo"))
    process.bundle(folder)
    broken = folder / "bundle/edgernn/bench/engines/tflite_runtime.py"
    broken.write_text(
        broken.read_text().replace('"tflite_runtime.interpreter"', '"no_such_package"')
    )
    with pytest.raises(EngineAbsent, match=r"no_such_package.*--tflite-python"):
        Worker("tflite-runtime", folder, sys.executable)


def test_an_engine_that_fails_is_named(job: Prepared) -> None:
    folder = Path(job.job.folder)
    (folder / "model.tflite").write_bytes(b"no model")
    with pytest.raises(EdgernnError, match="litert fails: "):
        Worker("litert", folder)
    result = measure(job, ["litert"], steps=10, rounds=2, starts=1)
    assert result.rows[0].reason.startswith("litert fails")
    assert result.ok
    with Worker("numpy", folder) as worker:
        worker._process.kill()
        with pytest.raises(EdgernnError, match="numpy ended"):
            worker.turn(5, 5)


def test_start_up_is_the_median_of_fresh_processes() -> None:
    starts = [Start("v", (), (a, 2.0, 3.0), (b, 7)) for a, b in ((1.0, 10), (9.0, 30), (2.0, 20))]
    assert median_start(starts) == Start("v", (), (2.0, 2.0, 3.0), (20, 7))


# -- the benchmark, on engines that take what we say ----------------------------------------------


class FakeWorker:
    """NumPy takes 20 us, LiteRT 10, PyTorch 40, times the load of the round; ONNX is wrong."""

    times: ClassVar = {"numpy": 20, "litert": 10, "torch": 40, "onnx": 1}
    order: ClassVar[list[str]] = []
    closed: ClassVar[list[str]] = []

    def __init__(self, name: str, folder: Path, python: str | None = None) -> None:
        self.name, self.turns = name, 0
        if name == "torch-int8":
            raise EngineAbsent("this torch has no quantize_dynamic any more; install one")
        self.start = Start(f"{name} 1.0", ("a note",), (0.1, 0.2, 0.3), (1 << 20, 1 << 21))

    def check(self, count: int) -> list[NDArray[Any]]:
        job = self.job
        if KINDS[self.name].exact:
            program = job.model.program
            assert isinstance(program, Program)
            x = job.job.stream("int")["x"][:count]
            y = StepRuntime(program).run_int(x)
            return [y + (self.name == "onnx")]
        from edgernn.float_engine import run_float

        assert job.model.graph is not None
        floats = {"x": job.job.stream("float")["x"][None, :count]}
        return [run_float(job.model.graph, floats)[0]["y"][0]]

    job: Prepared

    def turn(self, count: int, warm: int) -> tuple[NDArray[np.int64], float, int]:
        self.order.append(self.name)
        self.turns += 1
        load = 10 if self.turns % 3 == 0 else 1
        each = self.times[self.name] * 1000 * load
        return np.cumsum([0, *[each + 60] * count]), 60.0, 2

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed.append(self.name)


ENGINES = ["numpy", "native", "litert", "onnx", "torch", "torch-int8"]


@pytest.fixture
def result(job: Prepared, monkeypatch: pytest.MonkeyPatch) -> measuring.Result:
    monkeypatch.setattr(measuring, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "order", [])
    monkeypatch.setattr(FakeWorker, "closed", [])
    monkeypatch.setattr(FakeWorker, "job", job, raising=False)
    return measure(job, ENGINES, steps=90, rounds=9, starts=2)


def test_ratios_do_not_see_the_load_that_hits_all(result: measuring.Result) -> None:
    rows = {row.name: row for row in result.rows}
    assert list(rows) == ENGINES
    for name, ratio, best in (("numpy", 0.5, 2.0), ("litert", 0.25, 1.0), ("torch", 1.0, 4.0)):
        for found, wanted in ((rows[name].ratio, ratio), (rows[name].best, best)):
            assert found is not None
            assert (found.value, found.low, found.high) == pytest.approx((wanted,) * 3)
    summary = rows["numpy"].summary
    assert summary is not None
    assert (summary.calls, summary.median, summary.worst) == (90, 20.0, 200.0)
    assert rows["numpy"].preemptions == 18


def test_every_engine_takes_its_turn_in_each_round(result: measuring.Result) -> None:
    order = FakeWorker.order
    assert len(order) == 27
    for i in range(0, 27, 3):
        assert sorted(order[i : i + 3]) == ["litert", "numpy", "torch"]
    assert len({tuple(order[i : i + 3]) for i in range(0, 27, 3)}) > 1
    # The processes that only started, the wrong one, and those that were timed.
    assert sorted(FakeWorker.closed) == sorted(["numpy", "litert", "onnx", "torch"] * 2)


def test_a_wrong_engine_is_not_timed_and_absent_ones_say_why(result: measuring.Result) -> None:
    rows = {row.name: row for row in result.rows}
    assert not result.ok
    assert rows["onnx"].wrong
    assert "values differ" in rows["onnx"].reason
    assert rows["onnx"].summary is None
    assert rows["native"].reason == "it was not asked for"
    assert "quantize_dynamic" in rows["torch-int8"].reason


def test_the_tables_say_it_all(result: measuring.Result) -> None:
    printed = text(result, machine())
    lines = printed.splitlines()
    assert next(line for line in lines if line.startswith("NumPy")).split()[1:3] == ["20.0", "200"]
    assert "0.50 (0.50..0.50)" in printed
    assert "ONNX Runtime int8: " in printed
    assert "native C: it was not asked for" in printed
    assert "LiteRT: a note" in printed
    assert "taken off each: 60 ns" in printed
    assert "other processes took the processor 54 times" in printed
    assert "float engines, within 0.1 %" in printed
    assert "90 steps each, in 9 rounds" in printed
    assert described(machine()).startswith(machine()["processor"])


def test_the_json_has_every_figure(result: measuring.Result) -> None:
    found = json.loads(json.dumps(as_json(result, machine())))
    assert found["settings"] == {"steps": 90, "rounds": 9, "starts": 2, "seed": 0, "window": None}
    assert {"processor", "date", "edgernn", "numpy", "python"} <= found["machine"].keys()
    engines = {entry["name"]: entry for entry in found["engines"]}
    numpy = engines["numpy"]
    assert numpy["microseconds"]["median"] == 20.0
    assert numpy["microseconds"]["jitter"] == pytest.approx(180.0)
    assert numpy["microseconds"]["quantiles"]["50"] == 20.0
    assert numpy["ratio_to_torch"]["value"] == pytest.approx(0.5)
    assert numpy["startup_seconds"] == {"import": 0.1, "load": 0.2, "first_step": 0.3}
    assert numpy["rss_bytes"] == {"packages": 1 << 20, "model": 1 << 21}
    assert numpy["model_bytes"] > 1000
    assert numpy["agreement"]["differing"] == 0
    assert engines["onnx"]["agreement"]["wrong"]
    assert "reason" in engines["torch-int8"]


def test_pictures_of_everything(result: measuring.Result, tmp_path: Path) -> None:
    assert draw(result, tmp_path / "bench.svg") == [tmp_path / "bench.svg"]
    picture = (tmp_path / "bench.svg").read_text()
    for words in ("Median", "The tail", "Memory", "LiteRT", "PyTorch float"):
        assert words in picture
    assert "ONNX Runtime" not in picture
    paths = draw(result, tmp_path / "folder")
    assert [path.name for path in paths] == ["latency.svg", "tail.svg", "memory.svg"]
    assert all(path.is_file() for path in paths)
    with pytest.raises(InputError, match=r"\.svg or \.png"):
        draw(result, tmp_path / "bench.pdf")
    nothing = measuring.Result([], result.timings, None)
    with pytest.raises(InputError, match="nothing to draw"):
        draw(nothing, tmp_path / "none.svg")


def test_a_result_of_nothing_is_printed_too(job: Prepared) -> None:
    result = measure(job, ["native"], steps=5, rounds=1, starts=1)
    assert result.ok
    assert not result.timed
    printed = text(result, machine())
    assert printed.strip().startswith("native C: it was not asked for")
    assert as_json(result, machine())["engines"][0]["reason"] == "it was not asked for"


def test_engines_are_chosen_by_name() -> None:
    assert chosen(None) == list(KINDS)
    assert chosen("torch, numpy") == ["numpy", "torch"]
    for wrong in ("numpy,gpu", ""):
        with pytest.raises(InputError, match="none of numpy, native"):
            chosen(wrong)


# -- sizes --------------------------------------------------------------------------------------


def test_sizes_are_numbers() -> None:
    assert parse_sizes("64,16,64") == (16, 64)
    for wrong in ("", "16,x", "0", "4096"):
        with pytest.raises(InputError, match="--sizes"):
            parse_sizes(wrong)


@pytest.mark.parametrize(("cell", "states"), [("gru", 1), ("lstm", 2), ("rnn", 1)])
def test_models_of_sizes(cell: str, states: int) -> None:
    program = model_of(cell, 5, 3).program
    assert isinstance(program, Program)
    assert [len(state.initial) for state in program.states] == [5] * states


def test_latency_against_size(tmp_path: Path) -> None:
    curve = measure_sizes(
        (2, 4), ["numpy", "onnx-float"], cell="rnn", features=3, steps=20, rounds=2
    )
    assert curve.ok
    medians = curve.medians()
    assert list(medians) == ["numpy", "onnx-float"]
    assert all(value is not None and value > 0.0 for v in medians.values() for value in v)
    printed = sizes_text(curve)
    assert printed.splitlines()[0].split() == ["RNN,", "microseconds", "a", "step", "2", "4"]
    found = curve_json(curve, machine())
    assert [model["hidden"] for model in found["sizes"]] == [2, 4]
    (path,) = draw_sizes(medians, curve.sizes, "RNN", tmp_path)
    assert path.name == "sizes.svg"
    assert "hidden units" in path.read_text()


def test_an_engine_of_some_sizes_only_has_gaps(result: measuring.Result) -> None:
    nothing = measuring.Result([measuring.Row("numpy", "NumPy", "gone")], result.timings, None)
    curve = Curve("gru", 3, (2, 4), (nothing, result))
    assert curve.medians()["numpy"] == [None, 20.0]
    assert not curve.ok
    with pytest.raises(InputError, match="nothing to draw"):
        draw_sizes({}, (2, 4), "none", Path("none.svg"))


# -- the command --------------------------------------------------------------------------------


def run(arguments: Sequence[str]) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_the_command_times_a_folder(tmp_path: Path) -> None:
    model = model_of("gru", 4, 3)
    assert isinstance(model.program, Program)
    edgernn.export(model.program, tmp_path / "build", formats=("onnx",), verify_steps=10)
    options = ["--engines", "numpy,native,onnx", "--steps", "60", "--rounds", "3", "--starts", "1"]
    result = run([str(tmp_path / "build"), *options, "--json"])
    assert result.exit_code == 0, result.output
    engines = {e["name"]: e for e in json.loads(result.stdout)["engines"]}
    assert [e["agreement"]["differing"] for e in engines.values()] == [0, 0, 0]
    assert engines["native"]["microseconds"]["calls"] == 60
    absent = run([str(tmp_path / "build"), *options, "--engines", "tflite-runtime",
                  "--tflite-python", "/none/python"])  # fmt: skip
    assert absent.exit_code == 1
    assert "cannot be started" in absent.output
    assert "float engines" not in absent.output
    broken = tmp_path / "build" / "model.onnx"
    broken.write_bytes(broken.read_bytes()[:-1])
    damaged = run([str(tmp_path / "build"), *options])
    assert damaged.exit_code == 1
    assert "model.onnx is damaged" in damaged.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name an exported folder"),
        (["build", "--sizes", "4"], "--sizes makes models of its own"),
        (["--sizes", "4", "--live", "-"], "--sizes makes models of its own"),
        (["none"], "holds no model.safetensors"),
        (["none", "--plot", "x.pdf"], "no picture's name"),
        (["none", "--engines", "gpu"], "engine 'gpu' is none of"),
        (["none", "--plot", "gone/x.svg"], "gone is no folder"),
        (["none", "--rate", "3"], "--rate goes with --live"),
        (["none", "--cell", "gru"], "--cell goes with --sizes"),
        (["none", "--weights", "x.pt"], "--weights goes with --model"),
        (["none", "--live", "-", "--plot", "x.svg"], "--plot says nothing about --live"),
        (["--sizes", "4", "--window", "3"], "--window says nothing about --sizes"),
        (["--sizes", ""], "not ''"),
    ],
)
def test_the_command_refuses(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = run(arguments)
    assert result.exit_code == 1
    assert message in result.output
