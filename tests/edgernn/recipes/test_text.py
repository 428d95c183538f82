"""Reading texts in every form, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgernn.recipes.text.reading import read_texts
from edgernn.runtime.errors import InputError

ROWS = [("good fun", "1"), ("bad joke", "0"), ("so good", "1"), ("so bad", "0")]
SPLITS = ("train", "train", "val", "test")


def _tsv(path: Path, rows: Sequence[Sequence[str]], header: str = "split\tlabel\ttext") -> str:
    lines = [header, *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _with_split(path: Path) -> str:
    return _tsv(path, [(s, y, t) for s, (t, y) in zip(SPLITS, ROWS, strict=True)])


def test_a_table_with_splits(tmp_path: Path) -> None:
    texts = read_texts(_with_split(tmp_path / "a.tsv"))
    assert texts.texts == {
        "train": ["good fun", "bad joke"],
        "val": ["so good"],
        "test": ["so bad"],
    }
    assert texts.labels == {"label": {"train": ["1", "0"], "val": ["1"], "test": ["0"]}}
    assert texts.indices("label")["train"] == [1, 0]
    assert (texts.name, texts.split) == ("a", "the data's own")


def test_quotes_are_letters_in_tsv_and_quoting_in_csv(tmp_path: Path) -> None:
    rows = [("train", "1", '"one'), ("train", "0", 'NA "'), ("val", "1", "x"), ("test", "0", "y")]
    assert read_texts(_tsv(tmp_path / "a.tsv", rows)).texts["train"] == ['"one', 'NA "']
    quoted = tmp_path / "a.csv"
    quoted.write_text(
        'split;y;text\ntrain;1;"one; ""two""\nthree"\ntrain;0;NA\nvalid;1;x\ntest;0;y\n'
    )
    assert read_texts(str(quoted)).texts["train"] == ['one; "two"\nthree', "NA"]


def test_folders_of_splits(tmp_path: Path) -> None:
    for split, (text, label) in zip(SPLITS, ROWS, strict=True):
        folder = tmp_path / split / label
        folder.mkdir(parents=True)
        (folder / "1.txt").write_text(text)
    texts = read_texts(str(tmp_path))
    assert texts.texts["train"] == ["bad joke", "good fun"]
    assert texts.labels["label"]["val"] == ["1"]


def test_folders_of_classes_are_drawn_alike(tmp_path: Path) -> None:
    for label in ("no", "train"):  # a class may be called train
        (tmp_path / label).mkdir()
        for i in range(20):
            (tmp_path / label / f"{i:02}.txt").write_text(f"{label} {i}")
    drawn = read_texts(str(tmp_path), seed=1)
    assert [len(drawn.texts[s]) for s in ("train", "val", "test")] == [32, 4, 4]
    for split in ("train", "val", "test"):
        labels = drawn.labels["label"][split]
        assert labels.count("no") * 2 == len(labels)
        assert [t.split()[0] for t in drawn.texts[split]] == labels
    assert read_texts(str(tmp_path), seed=1).texts == drawn.texts
    assert read_texts(str(tmp_path), seed=2).texts != drawn.texts


def test_a_table_for_each_split(tmp_path: Path) -> None:
    for split, rows in (("train", ROWS[:2]), ("dev", ROWS[2:3]), ("test", ROWS[3:])):
        _tsv(tmp_path / f"{split}.tsv", rows, "text\tlabel")
    assert read_texts(str(tmp_path)).texts["val"] == ["so good"]
    _tsv(tmp_path / "test.tsv", ROWS, "text\tclass")
    with pytest.raises(InputError, match=r"different columns: see test\.tsv|see train\.tsv"):
        read_texts(str(tmp_path))


def test_arrays_of_strings_and_several_label_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    texts, labels = zip(*ROWS, strict=True)
    np.savez(path, text=texts, label=labels, deep=["a", "b", "a", "b"], split=SPLITS)
    found = read_texts(str(path), labels=("label", "deep"))
    assert found.classes("deep") == ["a", "b"]
    assert found.labels["deep"]["test"] == ["b"]


def test_val_is_drawn_from_train_where_it_is_absent(tmp_path: Path) -> None:
    rows = [("train", str(i % 2), f"text {i}") for i in range(40)]
    texts = read_texts(_tsv(tmp_path / "a.tsv", [*rows, ("test", "1", "text 3")]))
    assert [len(texts.texts[s]) for s in ("train", "val", "test")] == [36, 4, 1]
    assert "val: 10% of train" in texts.split
    assert texts.repeated() == ("text 3" in texts.texts["train"])


def test_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = [("train", y, "a") for y in ("10", "9", "-1", "b", "a")]
    source = _tsv(tmp_path / "a.tsv", [*rows, ("val", "9", "b"), ("test", "9", "c")])
    assert read_texts(source).classes("label") == ["-1", "9", "10", "a", "b"]


HEADER = "split\tlabel\ttext\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("label\ttext\n", "has no texts"),
        ("label\tText\n1\ta\n", "no column 'text' with the texts; it has label, Text"),
        ("one\ttwo\ttext\n1\t2\ta\n", "name the column with the labels"),
        ("text\n1\n", "name the column with the labels"),
        ("label\tlabel\ttext\n1\t2\ta\n", "column 'label' twice"),
        ("label\ttext\n1\ta\tb\n", "no table with a header: Expected 2 fields in line 2, saw 3"),
        ("label\ttext\n1\ta\n0\n", "text of row 2 is empty"),
        ("label\ttext\n1\ta\n\tb\n", "label of row 2 is empty"),
        (HEADER + "train\t1\ta\n\t1\tb\n", "split of row 2 is empty"),
        ("label\ttext\n1\ta\n", "none of its 1 texts is in"),
        (HEADER + "train\t1\ta\ntrain\t1\tb\n", "none of its 2 texts is in val"),
        (HEADER + "train\t1\ta\nval\t1\tb\ntest\t1\tb\n", "all label of train are '1'"),
        (
            HEADER + "train\t1\ta\ntrain\t0\ta\nval\t1\tb\ntest\t2\tb\n",
            "test has the label '2', which train has not",
        ),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_texts(str(path))


def test_files_that_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes("text,label\ncaf\xe9,1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8 at byte 14; convert it"):
        read_texts(str(latin))
    with pytest.raises(InputError, match="is not there"):
        read_texts(str(tmp_path / "nothing.tsv"))
    with pytest.raises(InputError, match="no column 'deep' with labels; it has split, label, text"):
        read_texts(_with_split(tmp_path / "a.tsv"), labels=("label", "deep"))
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="is no table of texts"):
        read_texts(str(tmp_path / "a.json"))
    np.savez(tmp_path / "n.npz", text=np.zeros(3))
    with pytest.raises(InputError, match="does not hold arrays of strings"):
        read_texts(str(tmp_path / "n.npz"))
    unclosed = tmp_path / "q.csv"
    unclosed.write_text('text,label\n"a,1\nb,0\n')
    with pytest.raises(InputError, match="EOF inside string"):
        read_texts(str(unclosed))
    (tmp_path / "empty" / "one").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read_texts(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="holds no folder for each class"):
        read_texts(str(tmp_path / "empty" / "one"))
