"""Hopfield network: storage, recall, energy; the integer program is the float one, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.engines.onnx import OnnxEngine  # noqa: E402
from edgernn.engines.tflite import TFLiteEngine  # noqa: E402
from edgernn.exporters.onnx_step import to_onnx  # noqa: E402
from edgernn.exporters.tflite import to_tflite  # noqa: E402
from edgernn.nn import Hopfield  # noqa: E402
from edgernn.runtime import InputError, StepRuntime  # noqa: E402
from edgernn.runtime.associative import MODES, recall, settle  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from tests.edgernn.cells import assert_same_everywhere, float_run  # noqa: E402
from tests.programs import random_program  # noqa: E402

SIZES = [(2, 1), (17, 3), (64, 6), (100, 127), (130, 40)]


def memory(size: int, patterns: int, seed: int = 0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    network = Hopfield(size, batch_first=True)
    stored = 2 * torch.randint(0, 2, (patterns, size), generator=generator) - 1
    network.store(stored)
    return network, stored


def cues(size: int, count: int, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (count, size), generator=generator).float()


def quantized(network: Any) -> Any:
    units = torch.ones(1, 2, network.size)
    return edgernn.quantize(network, (units,), calibration=units.numpy())


class Started(torch.nn.Module):
    """A network with its cue as a constant."""

    def __init__(self, network: Any, cue: Any) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("cue", cue[None, None])

    def forward(self, x: Any) -> Any:
        return self.network(x, self.cue.expand(-1, x.shape[0], -1).contiguous())[0]


def test_storage_is_hebbs_rule() -> None:
    network, stored = memory(9, 4)
    weight = network.weight.numpy()
    for i in range(9):
        for j in range(9):
            expected = 0 if i == j else int((stored[:, i] * stored[:, j]).sum())
            assert weight[i, j] == expected
    again = Hopfield(9)
    for pattern in stored:
        again.store(pattern)
    assert torch.equal(again.weight, network.weight)
    assert "weight" in network.state_dict()


def test_a_spoiled_pattern_is_recalled() -> None:
    network, stored = memory(100, 5)
    for mode in MODES:
        for pattern in stored.float():
            spoiled = pattern.clone()
            spoiled[:10] *= -1
            spoiled[50:60] = 0
            assert torch.equal(network.recall(spoiled, mode), pattern)
    assert torch.equal(network.recall(stored.float()), stored.float())


@pytest.mark.parametrize(("size", "patterns"), SIZES)
def test_energy_never_rises_asynchronously_and_the_end_is_a_fixed_point(
    size: int, patterns: int
) -> None:
    network, _ = memory(size, patterns)
    # Rounding must not hide a rise: the energies of whole numbers are exact.
    program = quantized(network)
    runtime = StepRuntime(program)
    (state,) = program.states
    one = round(1 / float(program.tensors[state.input].scale))
    for cue in cues(size, 5):
        runtime.state = {state.name: (one * cue.numpy()).astype(np.int16)}
        energy, moved = float(network.energy(cue)), True
        s = cue
        while moved:
            before = s
            for unit in range(size):
                s = torch.from_numpy(runtime.step(np.eye(size)[unit]))
                following = float(network.energy(s))
                assert following <= energy
                energy = following
            moved = not torch.equal(s, before)
        field = s @ network.weight
        assert bool((field * s >= 0).all())


@pytest.mark.parametrize(("size", "patterns"), SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_the_program_recalls_what_the_module_does_to_the_bit(
    size: int, patterns: int, mode: str
) -> None:
    network, _ = memory(size, patterns)
    runtime = StepRuntime(quantized(network))
    settled = 0
    for cue in cues(size, 20):
        try:
            expected = network.recall(cue, mode)
        except RuntimeError:
            with pytest.raises(InputError, match="recall asynchronously"):
                recall(runtime, cue, mode)
            continue
        got = recall(runtime, cue.numpy(), mode)
        assert got.dtype == np.int8
        np.testing.assert_array_equal(got, expected.numpy())
        settled += 1
    assert settled == 20 or mode == "synchronous"
    assert settled > 5


@pytest.mark.parametrize(("size", "patterns"), SIZES)
def test_every_step_is_the_float_step_and_the_same_on_every_engine(
    size: int, patterns: int
) -> None:
    network, _ = memory(size, patterns, seed=3)
    rng = np.random.default_rng(size)
    model = Started(network, cues(size, 1)[0])
    program = edgernn.quantize(
        model, (torch.ones(1, 2, size),), calibration=np.ones((1, 2, size), np.float32)
    )
    units = (rng.random((1, 300, size)) < rng.random((1, 300, 1)) ** 3).astype(np.float32)
    units[:, :3] = 0
    with torch.no_grad():
        expected = model(torch.from_numpy(units)).numpy()
    np.testing.assert_array_equal(StepRuntime(program).run(units[0]), expected[0])
    np.testing.assert_array_equal(float_run(program, units), expected)
    assert (expected[0, 2] == cues(size, 1)[0].numpy()).all()
    assert_same_everywhere(program, inputs={"x": units[0].astype(np.int16)})


def test_a_tie_keeps_the_unit_and_an_unknown_unit_may_stay_unknown() -> None:
    network = Hopfield(4, batch_first=True)
    network.store(torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1]]))
    cue = torch.tensor([1.0, 1.0, 1.0, -1.0])
    # The fields of the last two units cancel to -2 and 2: they are pulled, the first two pull.
    field = cue @ network.weight
    assert field.tolist() == [2.0, 2.0, -2.0, 2.0]
    runtime = StepRuntime(quantized(network))
    tied = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert (tied @ network.weight).tolist() == [0.0, 0.0, 2.0, 0.0]
    for s in (tied, -tied, torch.zeros(4), torch.tensor([1.0, -1.0, 0.0, 0.0])):
        for mode in MODES:
            try:
                expected = network.recall(s, mode)
            except RuntimeError:
                continue
            np.testing.assert_array_equal(recall(runtime, s.numpy(), mode), expected.numpy())
    assert recall(runtime, tied.numpy()).tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError):
        recall(runtime, [1.0, -1.0, 0.0, 0.0], "synchronous")


def test_a_random_order_settles_as_well() -> None:
    network, stored = memory(60, 4)
    generator = torch.Generator().manual_seed(3)
    spoiled = stored.float()
    spoiled[:, :8] *= -1
    assert torch.equal(network.recall(spoiled, generator=generator), stored.float())


def test_recall_runs_on_the_engines_of_the_exported_files() -> None:
    network, stored = memory(40, 3)
    program = quantized(network)
    runtime = StepRuntime(program)
    cue = stored[0].numpy().copy()
    cue[:6] = -cue[:6]
    engines = (
        TFLiteEngine(to_tflite(program), program),
        OnnxEngine(to_onnx(program), program),
    )
    for mode in MODES:
        expected = recall(runtime, cue, mode)
        np.testing.assert_array_equal(expected, stored[0].numpy())
        for engine in engines:
            runtime.reset()
            np.testing.assert_array_equal(recall(runtime, cue, mode, step=engine.step), expected)


def test_settle_counts_rounds_and_takes_any_program() -> None:
    network, stored = memory(40, 3)
    program = quantized(network)
    runtime = StepRuntime(program)
    (state,) = program.states
    runtime.state = {state.name: (16384 * stored[0].numpy()).astype(np.int16)}
    everyone = np.full((1, 40), 32767, np.int16)
    assert settle(runtime, everyone) == 1
    spoiled = 16384 * stored[0].numpy()
    spoiled[0] *= -1
    runtime.state = {state.name: spoiled.astype(np.int16)}
    assert settle(runtime, everyone) == 2
    torch.manual_seed(0)
    x = np.ones((1, 5, 3), np.float32)
    other = edgernn.quantize(torch.nn.RNN(3, 4), (torch.ones(5, 1, 3),), calibration=x)
    assert 2 < settle(StepRuntime(other), np.zeros((2, 3), np.int16)) < 100
    restless = StepRuntime(random_program(["rnn_tanh"], [4], 3, 0))
    with pytest.raises(InputError, match="still moves after 50 rounds; allow more"):
        settle(restless, np.zeros((1, 3), np.int16), limit=50)


def test_wrong_use_is_refused_in_one_sentence() -> None:
    network, _ = memory(8, 2)
    with pytest.raises(ValueError, match=r"patterns are \(P, 8\) of -1 and 1"):
        network.store(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"patterns are \(P, 8\) of -1 and 1"):
        network.store(torch.ones(2, 7))
    with pytest.raises(ValueError, match=r"patterns are \(P, 8\) of -1 and 1"):
        network.store(torch.ones(16))
    with pytest.raises(ValueError, match="at least 2 units"):
        Hopfield(1)
    with pytest.raises(ValueError, match=r"reads which units to update, \(N, T, size\)"):
        network(torch.ones(1, 2, 9))
    with pytest.raises(ValueError, match="mode is one of"):
        network.recall(torch.ones(8), "parallel")
    pair, _ = memory(2, 1)
    pair.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(RuntimeError, match="recall asynchronously"):
        pair.recall(torch.tensor([1.0, -1.0]), "synchronous")

    runtime = StepRuntime(quantized(network))
    with pytest.raises(InputError, match="mode 'parallel'"):
        recall(runtime, np.ones(8), "parallel")
    for cue in (np.ones(9), np.full(8, np.nan), np.ones((1, 8))):
        with pytest.raises(InputError, match=r"a cue for this memory is \(8,\) numbers"):
            recall(runtime, cue)
    with pytest.raises(InputError, match="no Hopfield network alone"):
        recall(StepRuntime(random_program(["gru"], [4], 3, 0)), np.ones(4))


def test_weights_that_int8_does_not_hold_exactly_are_refused() -> None:
    network, _ = memory(8, 2)
    same = torch.ones(1, 8)
    for _ in range(125):
        network.store(same)
    quantized(network)
    network.store(same)
    network.store(same)
    with pytest.raises(UnsupportedError, match=r"whole numbers up to 127.*at most 127 patterns"):
        quantized(network)
    network, _ = memory(8, 2)
    network.weight += 0.5 - 0.5 * torch.eye(8)
    with pytest.raises(UnsupportedError, match="not whole numbers"):
        quantized(network)
    for change in (torch.eye(8), torch.ones(8, 8).triu(1)):
        network, _ = memory(8, 2)
        network.weight += change
        with pytest.raises(UnsupportedError, match="not symmetric with a diagonal of zeros"):
            quantized(network)
    halfway = Started(memory(8, 2)[0], torch.full((8,), 0.5))
    units = torch.ones(1, 2, 8)
    with pytest.raises(UnsupportedError, match="other numbers than -1, 0 and 1"):
        edgernn.quantize(halfway, (units,), calibration=units.numpy())


def test_its_state_is_named_after_the_module() -> None:
    network, _ = memory(8, 2)
    model = Started(network, torch.ones(8))
    program = edgernn.quantize(
        model, (torch.ones(1, 2, 8),), calibration=np.ones((1, 2, 8), np.float32)
    )
    assert [s.name for s in program.states] == ["network_s0"]
