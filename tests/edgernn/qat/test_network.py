"""Training an integer program: where it begins, what learns, what it returns, and that it helps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgernn
import edgernn.nn as enn
from edgernn.feedback import feed_back
from edgernn.qat import IntegerNetwork, autograd
from edgernn.quantization import Quantized, quantize_graph
from edgernn.runtime import Program, StepRuntime, WindowRuntime, load_program, save_program
from edgernn.runtime.errors import FileFormatError, InputError
from tests.programs import random_graph, random_program


class Tagger(nn.Module):
    """A recurrent layer and a Linear at every step."""

    def __init__(self, layer: nn.Module, width: int, outputs: int = 3) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layer(x)[0])
        return y


class Masked(nn.Module):
    """A layer in both directions that is told lengths; the state at both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = enn.VariableLength(nn.GRU(4, 5, batch_first=True, bidirectional=True))
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        _, h = self.layer(x, lengths=lengths)
        y: Tensor = self.head(torch.cat([h[-2], h[-1]], dim=-1))
        return y


def data(streams: int, steps: int, features: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(streams, steps, features, generator=torch.Generator().manual_seed(seed))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(4, 9, batch_first=True),
    "lstm": lambda: nn.LSTM(4, 9, batch_first=True),
    "rnn": lambda: nn.RNN(4, 9, batch_first=True),
    "both": lambda: nn.GRU(4, 9, batch_first=True, bidirectional=True),
    "no bias": lambda: nn.GRU(4, 9, batch_first=True, bias=False),
    "layer norm": lambda: enn.LayerNormGRU(4, 9, batch_first=True),
}


@cache
def example(kind: str = "gru", rounding: str = "compensated", seed: int = 0) -> tuple[Tagger, Any]:
    """A model, and its program, which never changes."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = Tagger(LAYERS[kind](), 18 if kind == "both" else 9)
    x = data(20, 12, seed=seed)
    program = edgernn.quantize(model, (x[:2],), calibration=x.numpy(), rounding=rounding)
    return model, program


def program_of(kind: str = "gru") -> Any:
    return example(kind)[1]


def step(network: IntegerNetwork, loss: Tensor, rate: float = 0.02) -> None:
    """One step of gradient descent, each parameter by `rate` at the most."""
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for p in network.parameters():
            if p.grad is not None and p.grad.any():
                p -= rate * p.grad / p.grad.abs().max()


# -- where it begins, and what learns -----------------------------------------------------------


@pytest.mark.parametrize("rounding", ["nearest", "search", "compensated"])
def test_it_begins_with_the_programs_bits_and_the_float_weights(rounding: str) -> None:
    model, program = example("gru", rounding)
    network = IntegerNetwork(program)
    again = network.program()
    assert again.metadata["fine_tuning"]["changed"] == 0
    for old, new in zip(program.operators, again.operators, strict=True):
        if old.matrix is not None:
            np.testing.assert_array_equal(new.matrix.weight, old.matrix.weight)
            np.testing.assert_array_equal(new.matrix.bias, old.matrix.bias)
            assert new.matrix.weight.dtype == np.int8
            assert new.matrix.bias.dtype == np.int64
    weights = {"layer_l0_gx": "weight_ih_l0", "layer_l0_gh": "weight_hh_l0"}
    for operator, name in weights.items():
        latent = network.latents[f"0_{operator}_weight"].detach().numpy()
        real = getattr(model.layer, name).detach().double().numpy()
        if rounding == "nearest":
            np.testing.assert_allclose(latent, real, atol=2e-4 * np.abs(real).max())
        # Half a unit of a row scale of max / 127, where rounding went another way.
        assert np.abs(latent - real).max() < 3 * np.abs(real).max() / 127


def test_a_file_without_its_float_network_learns_from_its_integers(tmp_path: Path) -> None:
    save_program(program_of(), tmp_path / "p.safetensors")
    program = load_program(tmp_path / "p.safetensors")
    network = IntegerNetwork(program)
    y = network(data(2, 30))
    np.testing.assert_array_equal(y.detach().numpy(), StepRuntime(program).run(data(2, 30).numpy()))
    step(network, (y**2).mean())
    tuned = network.program()
    assert type(tuned) is Program
    assert tuned.metadata["fine_tuning"]["changed"] > 0
    save_program(tuned, tmp_path / "t.safetensors")
    loaded = load_program(tmp_path / "t.safetensors")
    assert loaded.metadata["fine_tuning"] == tuned.metadata["fine_tuning"]
    # With it, from the float network's weights; fine-tuned once more, from what was fine-tuned.
    model = program_of().float_model
    assert IntegerNetwork(program, model).program().metadata["fine_tuning"]["changed"] == 0
    assert IntegerNetwork(loaded, model).program().metadata["fine_tuning"]["changed"] == 0
    with pytest.raises(FileFormatError, match="not the float network"):
        IntegerNetwork(program, program_of("lstm").float_model)


def test_what_the_lowering_put_there_does_not_learn() -> None:
    program = program_of("layer norm")
    network = IntegerNetwork(program)
    learning = {name.split("_", 1)[1].rsplit("_", 1)[0] for name in network.latents}
    fixed = {op.name for op in program.operators if op.matrix} - learning
    assert any("energy" in name for name in fixed)
    assert any("gain" in name for name in learning)
    for _ in range(3):
        step(network, (network(data(4, 20)) ** 2).mean(), 0.1)
    tuned = {op.name: op.matrix for op in network.program().operators}
    for op in program.operators:
        if op.matrix is not None:
            same = np.array_equal(tuned[op.name].weight, op.matrix.weight)
            assert same == (op.name in fixed), op.name
            assert np.array_equal(tuned[op.name].multiplier, op.matrix.multiplier)
            assert np.array_equal(tuned[op.name].shift, op.matrix.shift)


def test_a_layer_without_bias_gets_none() -> None:
    program = program_of("no bias")
    network = IntegerNetwork(program)
    assert sorted(n for n in network.latents if n.endswith("_bias")) == ["0_head_bias"]
    for _ in range(2):
        step(network, (network(data(4, 20)) ** 2).mean(), 0.1)
    before, after = ({op.name: op.matrix for op in p.operators if op.matrix}
                     for p in (program, network.program()))  # fmt: skip
    for name, matrix in before.items():
        assert np.array_equal(after[name].bias, matrix.bias) == (name != "head")


def test_a_weight_at_the_end_is_not_pushed_further_and_can_come_back() -> None:
    network = IntegerNetwork(program_of())
    parameter = network.latents["0_head_weight"]
    with torch.no_grad():
        parameter *= 3.0
    unit = network._latents[0][-2].unit
    outside = np.abs(parameter.detach().numpy() / unit) >= 127
    assert 0 < outside.sum() < outside.size
    signs = torch.sign(parameter.detach())
    for seed in range(4):
        network.zero_grad()
        y = network(data(6, 20))
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)))
        assert parameter.grad is not None
        pushes = (parameter.grad * signs < 0).numpy() & outside
        assert not pushes.any()
        assert (parameter.grad != 0).numpy()[~outside].all()
    weight = next(op.matrix for op in network.program().operators if op.name == "head").weight
    assert np.abs(weight).max() == 127


# -- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_the_gradient_of_every_weight_is_the_float_networks(kind: str) -> None:
    model, program = example(kind, "nearest" if kind == "gru" else "compensated")
    network = IntegerNetwork(program)
    x, wanted = data(16, 25, seed=1), data(16, 25, 3, seed=2)
    model.zero_grad()
    given = [x.clone().requires_grad_() for _ in range(2)]
    for module, value in zip((model, network), given, strict=True):
        ((module(value) - wanted) ** 2).mean().backward()
    assert given[0].grad is not None
    assert given[1].grad is not None
    assert (given[1].grad - given[0].grad).norm() / given[0].grad.norm() < 0.03
    names = {"layer_l0_gx": "layer.{}_ih_l0", "layer_l0_gh": "layer.{}_hh_l0", "head": "head.{}"}
    parameters = dict(model.named_parameters())
    for key, latent in network.latents.items():
        _, rest = key.split("_", 1)
        operator, part = rest.rsplit("_", 1)
        right = parameters[names[operator].format(part)].grad
        assert right is not None
        if kind == "lstm" and operator != "head":
            # The program's gates are in another order.
            i, f, g, o = right.chunk(4)
            right = torch.cat([i, f, o, g])
        assert latent.grad is not None
        found, right = latent.grad.flatten(), right.flatten().double()
        assert torch.cosine_similarity(found, right, 0) > 0.999, key
        assert float(found.norm() / right.norm()) == pytest.approx(1.0, rel=0.02), key


def test_nothing_passes_to_an_input_out_of_range() -> None:
    x = data(3, 9)
    x[1, 4, 2] = 1e3
    x.requires_grad_()
    IntegerNetwork(program_of())(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).nonzero().tolist() == [[1, 4, 2]]


def test_the_state_carries_the_gradient_unless_it_is_detached() -> None:
    network, x = IntegerNetwork(program_of()), data(3, 24)
    whole = network(x)
    whole.square().sum().backward()
    wanted = {n: p.grad.clone() for n, p in network.latents.items()}

    def in_two(detached: bool) -> dict[str, Tensor]:
        network.zero_grad()
        first, state = network.run(x[:, :10])
        state = {n: v.detach() for n, v in state.items()} if detached else state
        second, _ = network.run(x[:, 10:], state=state)
        both = torch.cat([first, second], dim=1)
        np.testing.assert_array_equal(both.detach().numpy(), whole.detach().numpy())
        both.square().sum().backward()
        return {n: p.grad.clone() for n, p in network.latents.items()}

    for name, value in in_two(False).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-4)
    cut = in_two(True)
    assert any(not torch.allclose(cut[n], wanted[n], rtol=1e-2) for n in wanted)


def test_a_network_that_reads_its_own_output() -> None:
    graph = feed_back(random_graph(["gru"], [9], 4, 0, head=4))
    rng = np.random.default_rng(0)
    x = {n: rng.standard_normal((6, 30, graph.sizes[n])).astype(np.float32) for n in graph.inputs}
    given = (rng.random((6, 30, 1)) < 0.3).astype(np.float32)
    given[:, 0] = 1.0
    x[graph.feedback[0].given] = given
    program = quantize_graph(graph, {n: list(v) for n, v in x.items()})
    network = IntegerNetwork(program)
    y = network(*(torch.from_numpy(v) for v in x.values()))
    np.testing.assert_array_equal(y.detach().numpy(), StepRuntime(program).run(*x.values()))
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    # What says where an input is given may be left out: everywhere.
    last = IntegerNetwork(replace(program, metadata={**program.metadata, "last": ["y"]}))
    lengths = torch.tensor([30, 2, 11, 1, 7, 30])
    found = last(torch.from_numpy(x["x"]), lengths=lengths).detach().numpy()
    right = StepRuntime(program).run(x["x"], np.ones_like(given))
    np.testing.assert_array_equal(found, right[np.arange(6), lengths.numpy() - 1])


# -- lengths ------------------------------------------------------------------------------------


def test_the_answer_of_a_stream_is_that_of_the_last_step_that_counts() -> None:
    program = program_of()
    last = replace(program, metadata={**program.metadata, "last": ["y"]})
    x, lengths = data(5, 12), torch.tensor([3, 12, 1, 7, 7])
    every = IntegerNetwork(program)(x)
    padded = torch.where(torch.arange(12)[None, :, None] < lengths[:, None, None], x, torch.nan)
    found = IntegerNetwork(last)(padded, lengths=lengths)
    np.testing.assert_array_equal(
        found.detach().numpy(), every[torch.arange(5), lengths - 1].detach().numpy()
    )


def test_a_window_program_reads_each_sequence_to_its_own_end() -> None:
    program = program_of("both")
    x, lengths = data(6, 12), torch.tensor([3, 12, 1, 7, 3, 12])
    found = IntegerNetwork(program)(x, lengths=lengths)
    assert found.shape == (6, 12, 3)
    runtime = WindowRuntime(program)
    for row, value, length in zip(x, found.detach(), lengths.tolist(), strict=True):
        np.testing.assert_array_equal(value[:length].numpy(), runtime.run(row[:length].numpy()))
        assert not value[length:].any()
    found.square().sum().backward()


def test_lengths_are_the_mask_of_a_network_that_has_one() -> None:
    torch.manual_seed(0)
    x, lengths = data(6, 12), torch.tensor([3, 12, 1, 7, 3, 12])
    mask = (torch.arange(12)[None] < lengths[:, None]).float()[..., None]
    program = edgernn.quantize(
        Masked().eval(), (x[:2], lengths[:2]), calibration=(x.numpy(), mask.numpy())
    )
    network = IntegerNetwork(program)
    right = WindowRuntime(program).run(x.numpy(), mask.numpy())
    np.testing.assert_array_equal(network(x, lengths=lengths).detach().numpy(), right)
    np.testing.assert_array_equal(network(x, mask).detach().numpy(), right)
    whole = WindowRuntime(program).run(x.numpy(), np.ones_like(mask))
    np.testing.assert_array_equal(network(x).detach().numpy(), whole)


# -- as a module --------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
def test_it_can_be_saved_and_copied(both: bool) -> None:
    network, x = IntegerNetwork(program_of("both" if both else "gru")), data(3, 9)
    before = network(x).detach().numpy()
    step(network, network(x).square().mean(), 0.1)
    wanted = network(x).detach().numpy()
    assert (wanted != before).any()
    loaded = IntegerNetwork(program_of("both" if both else "gru"))
    loaded.load_state_dict(network.state_dict())
    for other in (loaded, copy.deepcopy(network)):
        np.testing.assert_array_equal(other(x).detach().numpy(), wanted)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.latents["0_layer_l0_gx_weight"] *= 0.5
    np.testing.assert_array_equal(network(x).detach().numpy(), wanted)
    assert (other(x).detach().numpy() != wanted).any()
    assert "y" in repr(network)


def test_without_a_gradient_long_streams_take_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, x = IntegerNetwork(program_of()), data(2, 400)
    wanted, after = network.run(x)
    monkeypatch.setattr(autograd, "HELD", 5_000)
    with torch.no_grad():
        found, state = network.run(x)
    np.testing.assert_array_equal(found.numpy(), wanted.detach().numpy())
    for name, value in state.items():
        np.testing.assert_array_equal(value.numpy(), after[name].detach().numpy())


@pytest.mark.parametrize("seed", range(3))
def test_random_stacks_of_cells(seed: int) -> None:
    cells = [["gru", "lstm"], ["rnn_relu", "gru"], ["lstm", "rnn_tanh"]][seed]
    program = random_program(cells, [7, 11], 4, seed, 3)
    network, x = IntegerNetwork(program), data(3, 200, seed=seed)
    for _ in range(2):
        step(network, network(x[:, :20]).square().mean(), 0.5)
    tuned = network.program()
    with torch.no_grad():
        found = network(x).numpy()
    np.testing.assert_array_equal(found, StepRuntime(tuned).run(x.numpy()))
    assert (found != StepRuntime(program).run(x.numpy())).any()


@pytest.mark.parametrize("both", [False, True])
def test_every_engine_computes_what_was_fine_tuned(both: bool, tmp_path: Path) -> None:
    network = IntegerNetwork(program_of("both" if both else "gru"))
    for _ in range(3):
        step(network, network(data(4, 20)).square().mean(), 0.1)
    report = edgernn.export(
        network.program(), tmp_path / "out", ("tflite", "onnx", "c"), verify_steps=1_000
    )
    assert report["verification"]["ok"], report["verification"]
    assert len([r for r in report["verification"]["rows"] if r["compared"]]) >= 3


# -- that it helps ------------------------------------------------------------------------------


def coarse(program: Quantized, bits: int) -> Quantized:
    """The program with weights of fewer bits: units 2^bits as large."""
    operators = []
    for op in program.operators:
        if op.matrix is not None:
            m, f = op.matrix, 1 << bits
            matrix = replace(
                m,
                weight=np.rint(m.weight / f).astype(np.int8),
                bias=np.rint(m.bias / f).astype(np.int64),
                shift=(m.shift - bits).astype(np.int32),
            )
            op = replace(op, matrix=matrix)
        operators.append(op)
    return replace(program, operators=tuple(operators))


def test_fine_tuning_brings_a_coarse_program_near_its_float_network() -> None:
    x, test = data(128, 20, seed=5), data(64, 20, seed=6)
    before = after = 0.0
    for seed in range(3):
        model, program = example("gru", "nearest", seed)
        with torch.no_grad():
            wanted, right = model(x), model(test)
        network = IntegerNetwork(coarse(program, 5))
        before += float(((network(test).detach() - right) ** 2).mean())
        torch.manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), 5e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
        for _ in range(20):
            for rows in torch.randperm(128).split(32):
                loss = ((network(x[rows]) - wanted[rows]) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        after += float(((network(test).detach() - right) ** 2).mean())
    assert after < 0.6 * before


# -- refusals -----------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused() -> None:
    network, x = IntegerNetwork(program_of()), data(3, 9)
    window = IntegerNetwork(program_of("both"))
    for message, call in {
        "2 were given": lambda: network(x, x),
        r"x is \(N, T, 4\)": lambda: network(x[..., :3]),
        "lengths are": lambda: network(x, lengths=torch.tensor([3, 0, 1])),
        "whole numbers from 1 to 9": lambda: network(x, lengths=torch.tensor([3, 10, 1])),
        "this program's states": lambda: network.run(x, state={}),
        "no state to go on from": lambda: window.run(x),
        "NaN or infinity": lambda: network(x * torch.nan),
        "on the CPU": lambda: network(x.to("meta")),
    }.items():
        with pytest.raises(InputError, match=message):
            call()
    y = network(x).sum()
    y.backward(retain_graph=True)
    with pytest.raises(InputError, match="run it once more"):
        y.backward()
    with torch.no_grad():
        network.latents["0_head_weight"][0, 0] = torch.nan
    with pytest.raises(InputError, match="training diverged"):
        network(x)
    with pytest.raises(InputError, match="training diverged"):
        network.program()
