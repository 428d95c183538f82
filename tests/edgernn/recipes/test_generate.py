"""Generation: long texts, training, and the same text from every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgernn.cli import main
from edgernn.commands.run import ENGINES as OFFERED
from edgernn.recipes.generate import Generate
from edgernn.recipes.registry import RECIPES
from edgernn.recipes.text.generation import generated, prompt_ids
from edgernn.recipes.text.long import read_long, reference
from edgernn.recipes.text.sampling import Sampler
from edgernn.recipes.text.streams import ENGINES, stream_of
from edgernn.recipes.text.trained import read_trained
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.training.base import Layers, Split

OPTIONS = {option.name: option.default for option in RECIPES["generate"].options}
TEXT = "".join(f"row {i % 7} says {'yes' if i % 2 else 'no'}.\n" for i in range(180))


def test_splits_follow_one_another(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0123456789" * 100)
    (tmp_path / "b.txt").write_text("abcdefghij" * 200)
    one = read_long(str(tmp_path / "a.txt"))
    assert "".join(part for (part,) in one.texts.values()) == "0123456789" * 100
    assert [len(one.texts[s][0]) for s in ("train", "val", "test")] == [800, 100, 100]
    both = read_long(str(tmp_path))
    assert [list(map(len, both.texts[s])) for s in ("train", "val")] == [[800, 1600], [100, 200]]
    (tmp_path / "own").mkdir()
    for name in ("train", "val", "test"):
        (tmp_path / "own" / f"{name}.txt").write_text(name * 50)
    own = read_long(str(tmp_path / "own"))
    assert (own.texts["val"], own.split) == (["val" * 50], "the data's own")


def test_the_demonstration_has_no_paragraph_twice() -> None:
    texts = reference()
    paragraphs = "".join(part for (part,) in texts.texts.values()).split("\n")
    assert len(paragraphs) > 1000
    assert len(set(paragraphs)) == len(paragraphs)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_long(str(tmp_path / "a.txt"))
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read_long(str(tmp_path))
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"is no \.txt file"):
        read_long(str(tmp_path / "a.csv"))
    (tmp_path / "short.txt").write_text("a" * 900)
    with pytest.raises(InputError, match="leaves 90 characters for val"):
        read_long(str(tmp_path / "short.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9" * 300)
    with pytest.raises(InputError, match="not UTF-8 at byte 3"):
        read_long(str(tmp_path / "latin.txt"))


@pytest.mark.parametrize("tokens", ["characters", "words", "bytes"])
def test_what_follows_is_to_be_said(tmp_path: Path, tokens: str) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    dataset = Generate().read(str(tmp_path / "a.txt"), OPTIONS | {"tokens": tokens}, 0)
    train = dataset.splits["train"]
    assert train.steps == ("x", "y")
    np.testing.assert_array_equal(train.arrays["x"][0][1:], train.arrays["y"][0][:-1])
    assert dataset.facts["tokens"] > train.arrays["y"][0].max()


def test_bits_per_character() -> None:
    facts = {"vocabulary": {"kind": "characters", "tokens": ["<pad>", "<unk>", "a", "b"]}}
    split = Split({"x": [np.array([2, 2])], "y": [np.array([2, 3])]}, ("x",), ("x", "y"))
    logits = np.log(np.array([[0, 0, 1, 3], [0, 0, 3, 1]], np.float32) + np.float32(1e-30))
    scores = Generate().score([(logits,)], split, facts)
    assert scores["bits_per_character"] == pytest.approx(2.0)
    assert scores["accuracy"] == 0


def test_cells_that_read_what_follows_are_refused() -> None:
    with pytest.raises(InputError, match="reads what follows"):
        Generate().network({"tokens": 5}, Layers(cell="bigru"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run and its export, everything in it, by the commands that users type."""
    folder = tmp_path_factory.mktemp("generate")
    (folder / "rows.txt").write_text(TEXT)
    commands = [
        f"train generate --data {folder}/rows.txt --out {folder}/run --hidden 24 --embedding 8 "
        "--epochs 3 --window 30 --batch-size 8",
        f"export {folder}/run --int8 --out {folder}/build --to tflite,onnx,c --verify-steps 50",
        f"build {folder}/build",
    ]
    for command in commands:
        result = CliRunner().invoke(main, command.split())
        assert result.exit_code == 0, result.output
    return {name: folder / name for name in ("run", "build")}


def test_the_command_offers_every_engine() -> None:
    assert OFFERED == ENGINES


@pytest.mark.parametrize("temperature", [0.7, 0.0])
def test_every_engine_writes_the_same_text(folders: dict[str, Path], temperature: float) -> None:
    trained = read_trained(folders["build"])
    prompt = prompt_ids(trained, "row 3 ")
    texts = {}
    for engine in ENGINES[:-1]:
        stream = stream_of(trained, engine)
        sampler = Sampler(stream.scale, temperature, 5, first=2)
        texts[engine] = list(generated(stream, prompt, 400, sampler))
    assert len({tuple(ids) for ids in texts.values()}) == 1
    assert min(texts["numpy"]) >= 2


def test_the_command_generates(folders: dict[str, Path]) -> None:
    def said(*options: str, folder: str = "build") -> str:
        command = ["run", str(folders[folder]), "--generate", "40", *options]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        return result.output

    first = said("--prompt", "row", "--seed", "1")
    assert first.startswith("row")
    assert len(first) == len("row") + 40 + 1
    assert said("--prompt", "row", "--seed", "1", "--engine", "c") == first
    assert said("--prompt", "row", "--seed", "2") != first
    assert len(said("--engine", "float")) == 41
    assert said(folder="run") == said("--engine", "float")


def test_what_cannot_be_generated(folders: dict[str, Path], tmp_path: Path) -> None:
    trained = read_trained(folders["build"])
    with pytest.raises(InputError, match="'%' of the prompt was not in the training text"):
        prompt_ids(trained, "row%")
    with pytest.raises(InputError, match="holds the float network alone"):
        stream_of(read_trained(folders["run"]), "onnx")
    with pytest.raises(InputError, match=r"has no recipe\.json"):
        read_trained(tmp_path)
    result = CliRunner().invoke(main, ["run", str(folders["build"]), "--text", "row 3"])
    assert result.exit_code == 1
    assert "has no classes" in result.output


def test_damaged_and_incomplete_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    recipe, program = (folders["build"] / name for name in ("recipe.json", "model.safetensors"))
    (tmp_path / program.name).write_bytes(program.read_bytes())
    for content, message in [
        (b"{", r"recipe\.json is damaged"),
        (b'{"recipe": "generate"}', r"recipe\.json is damaged"),
        (b'{"recipe": "x", "facts": {"vocabulary": {}}}', "does not hold a vocabulary"),
    ]:
        (tmp_path / recipe.name).write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            read_trained(tmp_path)
    (tmp_path / recipe.name).write_bytes(b'{"recipe": "tag", "facts": {}}')
    with pytest.raises(InputError, match="recipe tag, which does not read text"):
        read_trained(tmp_path)
    (tmp_path / recipe.name).write_bytes(recipe.read_bytes())
    alone = read_trained(tmp_path)
    for engine, message in [("float", "no longer holds its float"), ("onnx", r"no model\.onnx")]:
        with pytest.raises(InputError, match=message):
            stream_of(alone, engine)
    with pytest.raises(InputError, match="holds no C; export with --to c"):
        stream_of(alone, "c")
