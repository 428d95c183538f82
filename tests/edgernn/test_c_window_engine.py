"""The C of a window program as an engine under test, in a folder, and what it is said to cost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgernn.cli import main
from edgernn.engines.native import PORTABLE
from edgernn.engines.native_window import CWindowEngine
from edgernn.exporters.c.window import to_c_window
from edgernn.exporters.c.window_model import WindowModel
from edgernn.exporting import export
from edgernn.folder import verify_folder
from edgernn.footprint import estimate, load_targets
from edgernn.footprint.window import window_estimates
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.window import Window, window_of
from edgernn.window_verify import verification_windows, verify_window
from tests.exporters.c_host import WARNINGS
from tests.libraries import altered, compiler
from tests.programs import random_program
from tests.windows import random_inputs, random_stack, random_window


@pytest.fixture
def window() -> Window:
    return random_stack(4)


def differing(window: Window, engine: CWindowEngine, steps: int = 3000) -> int:
    windows = {None: verification_windows(window, [], steps, 3)}
    result = verify_window(window, [engine], windows)
    row = result.rows[1]
    assert result.steps == steps
    assert row.compared > 100
    return row.differing


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [PORTABLE, None], ids=["portable", "native"])
def test_exported_c_is_an_engine_under_test(
    window: Window, flags: tuple[str, ...] | None, cc: str
) -> None:
    flags = compiler(cc).native_flags() if flags is None else flags
    engine = CWindowEngine(window, to_c_window(window, "kws"), (*flags, *WARNINGS), cc)
    assert re.match(rf"C, {cc} .+, \w+ kernels$", engine.name)
    assert engine.kernels == "portable" or flags != PORTABLE
    assert differing(window, engine) == 0


@pytest.mark.parametrize("seed", range(12))
def test_any_window_is_verified_over_thousands_of_steps(seed: int) -> None:
    compiler()
    window = random_window(seed)
    assert differing(window, CWindowEngine(window, to_c_window(window), (*PORTABLE, "-O1"))) == 0


def test_a_mistake_in_the_c_is_found(window: Window) -> None:
    compiler()
    files = to_c_window(window, "kws")
    mistakes = {
        "a weight": altered(files, "kws_stage1"),
        "the direction": files
        | {"kws.c": files["kws.c"].replace(b"t = steps; t-- > 0;", b"t = 0; t < steps; ++t")},
        "no reset": files | {"kws.c": re.sub(rb"kws_stage2_reset\(.*\);", b"", files["kws.c"])},
    }
    mistakes["no reset"]["kws.c"] = mistakes["no reset"]["kws.c"].replace(
        b"    /* Stage 2,", b"    state.stage2.tag = KWS_STAGE2_STATE_TAG;\n    /* Stage 2,"
    )
    for name, wrong in mistakes.items():
        assert wrong["kws.c"] != files["kws.c"] or name == "a weight"
        assert differing(window, CWindowEngine(window, wrong)) > 0, name


def test_c_that_is_not_the_programs_is_refused(window: Window) -> None:
    compiler()
    with pytest.raises(FileFormatError, match="made from another window program"):
        CWindowEngine(window, to_c_window(random_stack(3)))
    two = to_c_window(window, "one") | to_c_window(window, "two")
    for files in ({}, two):
        with pytest.raises(FileFormatError, match="not that of one window program"):
            CWindowEngine(window, files)
    with pytest.raises(EdgernnError, match="error"):
        CWindowEngine(window, to_c_window(window) | {"model.c": b"#error not today\n"})


def test_inputs_that_do_not_fit_are_refused(window: Window) -> None:
    compiler()
    engine = CWindowEngine(window, to_c_window(window))
    x = random_inputs(window, 4, 0)
    name = window.inputs[0].name
    for wrong in (x[name][:, :-1], x[name][:0], x[name].astype(np.int32), x[name][0]):
        with pytest.raises(InputError, match=f"input {name} must be"):
            engine.run(x | {name: wrong})
    with pytest.raises(InputError, match="the inputs must be"):
        engine.run({})


def test_a_folder_is_verified_with_both_kinds_of_kernels(window: Window, tmp_path: Path) -> None:
    native = compiler().native_flags()
    report = export(window, tmp_path, ("c",), name="kws", verify_steps=200, window=7)
    rows = verify_folder(tmp_path, 2000, 1).rows
    names = [row.engine for row in rows if row.engine.startswith("C, ")]
    kernels = CWindowEngine(window, to_c_window(window), native).kernels
    assert [name.rsplit(" ", 2)[1] for name in names] == list(dict.fromkeys(["portable", kernels]))
    assert all(row.differing == 0 for row in rows)
    assert {row.compared for row in rows if row.engine in names} == {rows[0].compared}
    c, model = report["c"], WindowModel(window, "kws")
    assert (c["name"], c["steps"], c["buffer_bytes"]) == ("kws", 7, 2 * model.buffer_size(7))
    assert c["targets"] == window_estimates(model, 7)
    assert json.loads((tmp_path / "report.json").read_text())["c"] == c
    header = (tmp_path / "c" / "kws.h").read_text()
    assert f"#define KWS_SCRATCH_BYTES {c['scratch_bytes']} " in header
    # Another program in the same folder leaves nothing behind.
    export(random_program(["gru"], [3], 2, 0), tmp_path, ("c",), name="kws", verify_steps=5)
    assert not list((tmp_path / "c").rglob("*stage*"))
    assert not list((tmp_path / "c").rglob("window.ino"))


@pytest.mark.parametrize("file", ["kws.c", "kws_stage1.h", "kws_stage2.c", "edgernn.c"])
def test_a_folder_with_other_c_is_refused(window: Window, tmp_path: Path, file: str) -> None:
    export(window, tmp_path, ("c",), name="kws", verify_steps=50)
    report = json.loads((tmp_path / "report.json").read_text())
    del report["sha256"][f"c/{file}"]
    (tmp_path / "report.json").write_text(json.dumps(report))
    with (tmp_path / "c" / file).open("a") as stream:
        stream.write("/* changed */\n")
    with pytest.raises(FileFormatError, match="missing, changed"):
        verify_folder(tmp_path, 50, 0)


def test_costs_are_sums_over_the_stages() -> None:
    program = random_program(["gru"], [12], 5, 1)
    alone = window_estimates(WindowModel(window_of(program), "m"), 10)
    for name, target in load_targets().items():
        cost, found = estimate(program, target), alone[name]
        assert found["weights_bytes"] == cost.weights
        assert cost.flash < found["flash_bytes"] < cost.flash + 300
        assert 0 < found["instructions_per_window"] - 10 * cost.instructions < 10 * 60 + 300
        assert found["instructions_per_step"] == -(-found["instructions_per_window"] // 10)
        assert found["measured_loops"] == cost.measured
    model = WindowModel(random_stack(4), "m")
    short, long = window_estimates(model, 10), window_estimates(model, 110)
    for name, target in load_targets().items():
        stages = [estimate(stage, target) for stage in model.stages]
        found = short[name]
        assert found["weights_bytes"] == sum(cost.weights for cost in stages)
        # The engine is there once.
        assert found["code_bytes"] < sum(cost.code for cost in stages)
        assert found["flash_bytes"] == sum(
            found[f"{p}_bytes"] for p in ("weights", "tables", "code")
        )
        assert found["ram_bytes"] == sum(found[f"{p}_bytes"] for p in ("buffer", "state", "stack"))
        grown = long[name]["ram_bytes"] - found["ram_bytes"]
        assert grown == 2 * 100 * model.plan.per_step


class Tagger(torch.nn.Module):
    """A bidirectional model."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(5, 9, batch_first=True, bidirectional=True)
        self.lstm = torch.nn.LSTM(18, 6, batch_first=True, bidirectional=True)
        self.each, self.once = torch.nn.Linear(12, 3), torch.nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, _ = self.lstm(self.gru(x)[0])
        return self.each(y), self.once(y[:, -1])


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_the_command_line_from_a_bidirectional_model_to_verified_c(tmp_path: Path) -> None:
    compiler()
    torch.manual_seed(0)
    x = torch.randn(12, 15, 5)
    torch.export.save(torch.export.export(Tagger().eval(), (x[:2],)), tmp_path / "tagger.pt2")
    np.savez(tmp_path / "calib.npz", x=x.numpy())
    out = tmp_path / "out"
    command = ["export", str(tmp_path / "tagger.pt2"), "--int8", "--to", "c", "--out", str(out)]
    command += ["--calib", str(tmp_path / "calib.npz"), "--verify-steps", "200"]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "RAM includes the work buffer of a window of 15 steps" in done.output
    assert "tagger_window(" in (out / "c" / "tagger.h").read_text()
    done = CliRunner().invoke(main, ["verify", str(out), "--steps", "2000", "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["engine"]: row for row in json.loads(done.output)["rows"]}
    (portable,) = (row for name, row in rows.items() if name.endswith("portable kernels"))
    assert portable["compared"] > 2000
    assert portable["differing"] == 0
