"""A path of labels for a text: the tree, the network's equations, training, the integer program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import edgernn  # noqa: E402
from edgernn.recipes.answered import answered  # noqa: E402
from edgernn.recipes.harnn import Harnn  # noqa: E402
from edgernn.recipes.hierarchy import Hierarchy, path_scores  # noqa: E402
from edgernn.recipes.paths import Tree, blend, softmax  # noqa: E402
from edgernn.recipes.registry import RECIPES  # noqa: E402
from edgernn.recipes.requests import LEVELS, requests  # noqa: E402
from edgernn.recipes.text.trained import Trained  # noqa: E402
from edgernn.recipes.text.vocabulary import Vocabulary  # noqa: E402
from edgernn.runtime.errors import InputError  # noqa: E402
from edgernn.training.base import Config, Dataset, Layers, Settings  # noqa: E402
from edgernn.training.predict import float_outputs, integer_outputs  # noqa: E402
from tests.edgernn.windows import assert_windows_same  # noqa: E402

OPTIONS: dict[str, Any] = {o.name: o.default for o in RECIPES["hierarchy"].options}
SMALL = Layers(cell="bilstm", hidden=8, embedding=8)
TREE = Tree(("area", "thing"), (("a", "b"), ("a0", "a1", "b0")), ((0, 0, 1),))
ROWS = [
    ("switch the light on", "home", "light"),
    ("turn the heating up", "home", "heat"),
    ("play a song", "media", "music"),
    ("read the news", "media", "news"),
]


def table(path: Path, rows: list[tuple[str, ...]], header: str = "text\tlevel1\tlevel2") -> str:
    lines = [header, *("\t".join((f"{row[0]} {i}", *row[1:])) for i, row in enumerate(rows))]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def read(source: str | None, recipe: Hierarchy | None = None, **options: Any) -> Dataset:
    return (recipe or Hierarchy()).read(source, OPTIONS | options, 0)


def test_the_best_path_is_the_one_with_the_largest_product() -> None:
    np.testing.assert_array_equal(TREE.paths(), [[0, 0], [0, 1], [1, 2]])
    upper = np.array([[0.6, 0.4], [0.2, 0.8], [1.0, 0.0]])
    lower = np.array([[0.3, 0.2, 0.5], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0]])
    # 0.6 * 0.3 < 0.4 * 0.5: the lower level turns the upper one over, and the other way round.
    np.testing.assert_array_equal(TREE.best([upper, lower])[:2], [[1, 2], [0, 0]])
    wanted = np.array([[1, 2], [1, 2], [0, 1]])
    scores = path_scores(TREE, [upper, lower], wanted)
    assert scores["consistency"] == 1.0
    assert scores["consistency_alone"] == 0.0
    assert scores["subset_accuracy"] == pytest.approx(1 / 3)
    assert scores["subset_accuracy_alone"] == 0.0
    assert scores["area_micro_f1_alone"] == pytest.approx(2 / 3)
    assert scores["thing_micro_f1_alone"] == pytest.approx(1 / 3)


def test_the_answers_are_blended_level_by_level() -> None:
    rng = np.random.default_rng(0)
    a, b, both = (rng.standard_normal((4, 1, n)).astype(np.float32) for n in (2, 3, 5))
    outputs = list(zip(a, b, both, strict=True))
    for alpha in (0.0, 0.3, 1.0):
        upper, lower = blend(outputs, (2, 3), alpha)
        for got, own, part in ((upper, a, both[..., :2]), (lower, b, both[..., 2:])):
            expected = (1 - alpha) * softmax(own) + alpha * softmax(part)
            np.testing.assert_allclose(got, expected[:, 0])
            np.testing.assert_allclose(got.sum(axis=1), 1)


def test_the_network_is_the_papers() -> None:
    """A second writing of the equations, level by level and text by text."""
    torch.manual_seed(0)
    sizes, gain = (2, 3, 4), 5.0
    net = Harnn(20, sizes, SMALL, attention=5, dense=6, gain=gain).eval()
    x, lengths = torch.randint(0, 20, (3, 9)), torch.tensor([9, 4, 1])
    with torch.no_grad():
        given = net(x, lengths)
        for n, length in enumerate(lengths.tolist()):
            v = net.layers[0](net.embedding(x[n : n + 1, :length]))[0][0]
            omega, seen, expected = torch.ones(length), [], []
            for attention, dense, local in zip(net.attention, net.dense, net.local, strict=True):
                weighed = omega[:, None] * v
                weights = torch.softmax(
                    attention.vectors @ torch.tanh(attention.weight @ weighed.T), dim=1
                )
                r = (weights @ weighed).mean(dim=0)
                seen.append(torch.relu(dense(torch.cat([v.mean(dim=0), r]))))
                expected.append(local(seen[-1]))
                omega = gain * torch.softmax(expected[-1], dim=0) @ weights
            expected.append(net.overall(torch.relu(net.joined(torch.cat(seen)))))
            alone = net(x[n : n + 1, :length])
            for got, single, right in zip(given, alone, expected, strict=True):
                torch.testing.assert_close(got[n], right)
                torch.testing.assert_close(single[0], right)


def test_it_learns_and_ends_as_one_integer_program(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe = Hierarchy()
    data = read(None, recipe, attention=6, dense=16)
    net = recipe.network(data.facts, replace(SMALL, hidden=12))
    train, val = data.splits["train"].take(range(400)), data.splits["val"].take(range(60))
    from edgernn.training.batches import collate

    optimizer = torch.optim.AdamW(net.parameters(), 0.03)
    losses = []
    for _ in range(12):
        for begin in range(0, 400, 50):
            batch = collate(train, range(begin, begin + 50))
            loss = recipe.loss(net(batch["x"], lengths=batch["lengths"]), batch)
            optimizer.zero_grad()
            loss.backward()
            if not losses:
                dead = [n for n, p in net.named_parameters() if p.grad is None]
                assert not dead, f"no gradient reaches {dead}"
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
    net.eval()
    floats = float_outputs(net, val)
    scores = recipe.score(floats, val, data.facts)
    assert scores["area_micro_f1"] > 0.6
    assert scores["consistency"] == 1.0
    example = torch.from_numpy(train.arrays["x"][0])[None].repeat(2, 1)
    calibration = [ids[:, None] for ids in train.arrays["x"]]
    window = edgernn.quantize(net, (example,), calibration=calibration)
    directions = [stage.direction for stage in window.stages]
    assert directions == ["forward", "reverse"] * 3 + ["forward", "once"]
    ints = integer_outputs(window, val)
    for i in range(len(LEVELS) + 1):
        a, b = (np.stack([o[i][-1] for o in outputs]) for outputs in (floats, ints))
        assert np.abs(a - b).max() < 0.03 * np.abs(a).max()
    same = recipe.score(ints, val, data.facts)
    assert abs(same["subset_accuracy"] - scores["subset_accuracy"]) <= 0.02
    assert_windows_same(window, tmp_path, lengths=(20, 1, 45))

    vocabulary = Vocabulary.from_json(data.facts["vocabulary"], "here")
    trained = Trained(tmp_path, "hierarchy", data.facts, vocabulary, window, window.graph)
    text = requests(0).texts["val"][0]
    said = answered(trained, text, with_float=True)
    tree = Tree.from_facts(data.facts)
    probabilities = blend(ints[:1], tree.sizes, data.facts["alpha"])
    (path,) = tree.best(probabilities)
    assert said["int8"] == [
        [level, names[i], f"{p[0, i]:.3f}"]
        for level, names, i, p in zip(LEVELS, tree.classes, path, probabilities, strict=True)
    ]
    pairs = zip(said["int8"], said["float"], strict=True)
    assert all(abs(float(a[2]) - float(b[2])) < 0.05 for a, b in pairs)
    with pytest.raises(InputError, match="the text has no words"):
        answered(trained, " ")
    with pytest.raises(InputError, match="no longer holds its float network"):
        answered(replace(trained, graph=None), text, with_float=True)


def test_the_loss_is_that_of_each_level_and_of_all_together() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b, both = (torch.randn(4, n, generator=rng) for n in (2, 3, 5))
    batch = {"y0": torch.tensor([0, 1, 1, 0]), "y1": torch.tensor([1, 2, 2, 0])}
    ce = torch.nn.functional.cross_entropy
    expected = ce(a, batch["y0"]) + ce(both[:, :2], batch["y0"])
    expected = expected + ce(b, batch["y1"]) + ce(both[:, 2:], batch["y1"])
    torch.testing.assert_close(Hierarchy().loss((a, b, both), batch), expected)


def test_a_table_of_any_columns(tmp_path: Path) -> None:
    rows = [(*row, "x") for row in ROWS * 5]
    source = table(tmp_path / "a.tsv", rows, "text\tlevel1\tlevel2\tremark")
    data = read(source)
    assert data.facts["levels"] == ["level1", "level2"]
    assert data.facts["classes"] == [["home", "media"], ["heat", "light", "music", "news"]]
    assert data.facts["parents"] == [[0, 0, 1, 1]]
    assert {len(split.arrays["y0"]) for split in data.splits.values()} == {12, 4}
    source = table(tmp_path / "b.tsv", ROWS * 5, "query\tdomain\tintent")
    data = read(source, text="query")
    assert data.facts["levels"] == ["domain", "intent"]
    assert Tree.from_facts(data.facts).sizes == (2, 4)
    recipe = Hierarchy()
    data = read(source, recipe, text="query", levels="domain, intent")
    found = recipe.baselines(data)["tf-idf, logistic regression"]
    assert found["domain_micro_f1"] == 1.0
    assert "domain (2 classes), intent (4 classes)" in recipe.card(data.facts)[0]


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    twice = [*ROWS, ("stop the news", "home", "news")] * 5
    with pytest.raises(InputError, match="level2 'news' is under 'media' and under 'home'; give"):
        read(table(tmp_path / "a.tsv", twice))
    one = [row[:2] for row in ROWS * 5]
    with pytest.raises(InputError, match=r"at least 2 levels, and .* has 1 columns with labels"):
        read(table(tmp_path / "b.tsv", one, "text\tlevel1"))
    good = table(tmp_path / "c.tsv", ROWS * 5)
    with pytest.raises(InputError, match="has no column 'level9' with labels"):
        read(good, levels="level1,level9")
    with pytest.raises(InputError, match=r"alpha, .*, is 0 to 1, not 1\.5"):
        read(good, alpha=1.5)
    with pytest.raises(InputError, match="dense is at least 1, not 0"):
        read(good, dense=0)
    facts = read(good).facts
    for cell in ("gru", "bigru:gate"):
        with pytest.raises(InputError, match=f"reads a text in both directions.* not {cell}"):
            Hierarchy().network(facts, replace(SMALL, cell=cell))


def test_the_demonstration_is_the_same_each_time_and_paths_of_a_tree() -> None:
    texts = requests(0, 300)
    assert texts == requests(0, 300)
    assert texts != requests(1, 300)
    every = [text for part in texts.texts.values() for text in part]
    assert len(set(every)) == 300
    assert read(None).facts["levels"] == list(LEVELS)


def test_words_become_unknown_each_epoch() -> None:
    recipe = Hierarchy()
    split = read(None, recipe, word_dropout=0.5).splits["train"]
    first, second = (recipe.augment(split, np.random.default_rng(i)) for i in range(2))
    a, b, given = (np.concatenate(s.arrays["x"]) for s in (first, second, split))
    assert 0.45 < np.mean((a == 1) & (given != 1)) < 0.55
    assert (a != b).any()
    assert (a[a != 1] == given[a != 1]).all()


def test_the_wide_part_begins_as_naive_bayes_and_is_added_to_the_logits() -> None:
    torch.manual_seed(0)
    recipe = Hierarchy()
    data = read(None, recipe, wide=99)
    net = recipe.network(data.facts, SMALL).eval()
    assert net.said.embedding_dim == 25
    given = float_outputs(net, data.splits["val"])
    bare = Harnn(data.facts["tokens"], net.categories, SMALL, 32, 128, data.facts["gain"]).eval()
    bare.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("sa")})
    left = float_outputs(bare, data.splits["val"])
    # What is added is the same for a level alone and among all.
    for with_words, without in zip(given, left, strict=True):
        added = [a - b for a, b in zip(with_words, without, strict=True)]
        np.testing.assert_allclose(np.concatenate(added[:3], axis=1), added[3], atol=1e-5)
    score = recipe.score(given, data.splits["val"], data.facts)
    assert (
        score["subset_accuracy"]
        > 0.4
        > recipe.score(left, data.splits["val"], data.facts)["subset_accuracy"]
    )
    ids = torch.from_numpy(data.splits["val"].arrays["x"][0])[None]
    train = data.splits["train"].arrays["x"][:60]
    window = edgernn.quantize(net, (ids,), calibration=[x[:, None] for x in train])
    split = data.splits["val"].take(range(20))
    for a, b in zip(given, integer_outputs(window, split), strict=False):
        assert np.abs(a[3] - b[3]).max() < 0.05 * np.abs(a[3]).max()


def test_settings_of_the_recipe() -> None:
    recipe = Hierarchy()
    config = Config("hierarchy", recipe.settings, recipe.layers, OPTIONS)
    assert Config.from_json(config.as_json(), "here") == config
    assert isinstance(recipe.settings, Settings)
