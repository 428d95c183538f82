"""tag: labels at every step, split in time, unscored rows before a part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgernn.recipes.tag import CONTEXT, Tag
from edgernn.training.base import Config, Layers, Settings
from edgernn.training.fit import fit


def table(path: Path, rows: int = 900) -> Path:
    """A noisy signal that is high where the label is `on`, with a few empty cells."""
    generator = np.random.default_rng(0)
    on = np.repeat(generator.integers(0, 2, rows // 15), 15)
    value = on + generator.normal(0, 0.7, rows)
    cells = [f"{v:.3f}" if i % 50 else "" for i, v in enumerate(value)]
    lines = [
        f"{60 * i},{c},{['off', 'on'][o]}" for i, (c, o) in enumerate(zip(cells, on, strict=True))
    ]
    path.write_text("time,signal,state\n" + "\n".join(lines) + "\n")
    return path


def test_a_csv_is_split_in_time_and_rows_before_a_part_are_not_scored(tmp_path: Path) -> None:
    dataset = Tag().read(str(table(tmp_path / "t.csv")), {"label": "state"}, 0)
    assert dataset.facts["classes"] == ["off", "on"]
    assert dataset.facts["features"] == [2]
    sizes = {n: int((np.asarray(s.arrays["y"][0]) >= 0).sum()) for n, s in dataset.splits.items()}
    assert sizes == {"train": 540, "val": 180, "test": 180}
    test = dataset.splits["test"]
    assert test.lengths[0] == 180 + CONTEXT
    assert (test.arrays["y"][0][:CONTEXT] == -1).all()
    whole = np.concatenate([dataset.splits["train"].arrays["x"][0], *[
        dataset.splits[n].arrays["x"][0][-180:] for n in ("val", "test")]])  # fmt: skip
    assert np.array_equal(test.arrays["x"][0], whole[720 - CONTEXT :])


@pytest.mark.parametrize("stateful", [True, False])
def test_it_learns_to_look_back(tmp_path: Path, stateful: bool) -> None:
    recipe = Tag()
    dataset = recipe.read(str(table(tmp_path / "t.csv", 1800)), {"label": "state"}, 0)
    settings = Settings(epochs=8, batch_size=8, window=30, stateful=stateful, learning_rate=0.02)
    fitted = fit(recipe, Config("tag", settings, Layers(hidden=8), {}), dataset)
    (baseline,) = recipe.baselines(dataset).values()
    found = fitted.scores["test"]
    assert set(found) == {"accuracy", "macro_f1", "auroc", "f1_off", "f1_on"}
    assert found["accuracy"] > baseline["accuracy"] + 0.03


def test_the_demonstration_says_that_it_is_generated() -> None:
    dataset = Tag().read(None, {}, 0)
    assert "generated" in dataset.facts["source"]
    for split in dataset.splits.values():
        shares = np.bincount(np.asarray(split.arrays["y"][0])[-500:] + 1, minlength=3)
        assert (shares[1:] > 20).all()
