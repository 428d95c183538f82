"""A class for a text: from the file to a sentence that is typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgernn.cli import main
from edgernn.recipes.registry import RECIPES
from edgernn.recipes.sentiment import Sentiment
from edgernn.recipes.text.opinions import CLASSES, opinions
from edgernn.recipes.text.reading_along import read_along
from edgernn.recipes.text.trained import read_trained
from edgernn.runtime import StepRuntime, WindowRuntime
from edgernn.runtime.errors import InputError
from edgernn.runtime.window import Window
from edgernn.training.predict import float_outputs
from edgernn.training.run_folder import read_run

OPTIONS: dict[str, Any] = {o.name: o.default for o in RECIPES["sentiment"].options}
SENTENCE = "The soup was not bad, the frobnicator was."


def _command(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 90 opinions, in three classes."""
    path = tmp_path_factory.mktemp("table") / "opinions.csv"
    texts = opinions(0, 300)
    rows = [
        (split, text, "mixed" if "but" in text else label)
        for split in ("train", "val", "test")
        for text, label in zip(texts.texts[split], texts.labels["label"][split], strict=True)
    ]
    lines = [f'{split},"{text}",{label}' for split, text, label in rows]
    path.write_text("\n".join(["split,said,mood", *lines]))
    return path


@pytest.fixture(scope="module", params=["gru", "bilstm"])
def folders(request: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on the demonstration and its export."""
    folder = tmp_path_factory.mktemp("sentiment")
    small = f"--cell {request.param} --hidden 8 --embedding 8 --epochs 1".split()
    _command("train", "sentiment", "--demo", *small, "--out", folder / "run")
    _command("export", folder / "run", "--int8", "--out", folder / "build", "--verify-steps", 20)
    return {name: folder / name for name in ("run", "build")}


def test_opinions_are_labelled_by_the_order_of_words() -> None:
    texts = opinions(0)
    assert opinions(0) == texts != opinions(1)
    labels = texts.labels["label"]
    assert {len(set(v)) for v in labels.values()} == {2}
    said = dict(zip(texts.texts["train"], labels["train"], strict=True))
    assert len(said) == 6400
    for text, label in said.items():
        if text.startswith("nobody could call") and text.endswith("excellent."):
            assert label == CLASSES[0]
        if text.startswith("it seemed dull at first") and text.endswith("excellent."):
            assert label == CLASSES[1]


def test_any_number_of_classes_from_a_table(table: Path) -> None:
    recipe = Sentiment()
    options = OPTIONS | {"text": "said", "label": "mood"}
    dataset = recipe.read(str(table), options, 0)
    assert dataset.facts["classes"] == ["mixed", "negative", "positive"]
    assert dataset.facts["tokens"] == len(dataset.facts["vocabulary"]["tokens"])
    network = recipe.network(dataset.facts, replace(recipe.layers, hidden=4, embedding=4))
    split = dataset.splits["test"]
    scores = recipe.score(float_outputs(network, split), split, dataset.facts)
    assert 0 <= scores["accuracy"] <= 1
    baselines = recipe.baselines(dataset)
    assert baselines["tf-idf, logistic regression"]["accuracy"] > 0.5
    wanted = np.array(split.arrays["y"])
    share = np.mean(wanted == np.bincount(dataset.splits["train"].arrays["y"]).argmax())
    assert baselines["most frequent class"]["accuracy"] == pytest.approx(share)


def test_the_vocabulary_is_of_train_alone(tmp_path: Path) -> None:
    rows = [("train", "0", "a b a b"), ("train", "1", "b a c")]
    rows += [(split, "1", "a zebra zebra b") for split in ("val", "test")]
    path = tmp_path / "a.tsv"
    path.write_text("split\tlabel\ttext\n" + "".join("\t".join(row) + "\n" for row in rows))
    dataset = Sentiment().read(str(path), OPTIONS, 0)
    assert dataset.facts["vocabulary"]["tokens"] == ["<pad>", "<unk>", "a", "b"]
    assert dataset.facts["unknown"] == {"train": 1 / 7, "val": 0.5, "test": 0.5}


def test_a_wrong_column_is_one_sentence(table: Path, tmp_path: Path) -> None:
    words = ["train", "sentiment", "--data", str(table), "--out", str(tmp_path / "run")]
    for more, message in [
        ([], "has no column 'text' with the texts; it has split, said, mood"),
        (["--text", "said", "--label", "moods"], "has no column 'moods' with labels"),
    ]:
        result = CliRunner().invoke(main, [*words, *more])
        assert result.exit_code == 1
        assert message in result.output


def test_words_become_unknown_in_training_alone(table: Path) -> None:
    recipe = Sentiment()
    dataset = recipe.read(
        str(table), OPTIONS | {"text": "said", "label": "mood", "word_dropout": 0.25}, 0
    )
    train = dataset.splits["train"]
    dropped = recipe.augment(train, np.random.default_rng(0))
    before, after = (np.concatenate(s.arrays["x"]) for s in (train, dropped))
    known = before != 1
    assert 0.2 < np.mean(after[known] == 1) < 0.3
    assert (after[after != 1] == before[after != 1]).all()


def test_a_sentence_word_by_word(folders: dict[str, Path]) -> None:
    trained = read_trained(folders["build"])
    reading = read_along(trained, SENTENCE, with_float=True)
    assert reading.words[:4] == ["the", "soup", "was", "not"]
    assert reading.ids[reading.words.index("frobnicator")] == 1
    assert reading.integer is not None
    assert reading.float is not None
    np.testing.assert_allclose(reading.integer.sum(axis=1), 1)
    assert np.abs(reading.integer - reading.float).max() < 0.01

    # What the trained network itself says after each word.
    run = read_run(folders["run"])
    import torch

    with torch.no_grad():
        told = [
            torch.softmax(run.network()(torch.from_numpy(reading.ids[None, : t + 1])), -1)[
                0
            ].numpy()
            for t in range(len(reading.ids))
        ]
    np.testing.assert_allclose(reading.float, told, atol=1e-5)
    alone = read_along(read_trained(folders["run"]), SENTENCE)
    assert alone.integer is None
    np.testing.assert_allclose(alone.float, reading.float, atol=1e-6)


def test_the_last_word_is_the_programs_answer(folders: dict[str, Path]) -> None:
    trained = read_trained(folders["build"])
    reading = read_along(trained, SENTENCE)
    path, column = folders["build"] / "model.safetensors", reading.ids[:, None].astype(np.float32)
    if isinstance(trained.program, Window):
        assert reading.moved is None
        logits = np.ravel(WindowRuntime.load(path).run(column)).astype(np.float64)
    else:
        assert reading.moved is not None
        assert (reading.moved > 0).all()
        logits = StepRuntime.load(path).run(column)[-1].astype(np.float64)
    powers = np.exp(logits - logits.max())
    assert reading.integer is not None
    np.testing.assert_allclose(reading.integer[-1], powers / powers.sum())


def test_the_command_reads_along(folders: dict[str, Path]) -> None:
    output = _command("run", folders["build"], "--text", SENTENCE, "--float")
    assert "p(positive), int8" in output
    assert "p(positive), float" in output
    assert "frobnicator  unknown" in output
    assert output.splitlines()[-1].split(",")[0] in CLASSES
    piped = CliRunner().invoke(main, ["run", str(folders["run"]), "--text", "-"], input=SENTENCE)
    assert "p(positive), float" in piped.output


def test_texts_that_cannot_be_read(folders: dict[str, Path]) -> None:
    trained = read_trained(folders["build"])
    with pytest.raises(InputError, match="the text has no words"):
        read_along(trained, " \n")
    for words, message in [
        (["--generate", "4"], "which says no next token"),
        ([], "say what to run"),
        (["--text", "a", "--generate", "1"], "say what to run"),
        (["--text", "a", "--temperature", "1"], "--temperature goes with --generate"),
        (["--generate", "1", "--float"], "--float goes with --text"),
    ]:
        result = CliRunner().invoke(main, ["run", str(folders["build"]), *words])
        assert result.exit_code == 1
        assert message in result.output
