"""`keyword`: recordings, composed streams, detection, and a spotter trained for a moment."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from edgernn.cli import main
from edgernn.recipes.audio.composing import (
    JUDGING,
    LEARNING,
    compose,
    extent,
    faster,
    labels,
    spans,
)
from edgernn.recipes.audio.detection import LOGITS, Truth, matched, stream_scores, tuned
from edgernn.recipes.audio.dividing import divided
from edgernn.recipes.audio.generated import RATE, SPEAKERS, WORDS, generated_words, spoken
from edgernn.recipes.audio.recordings import Recording, Recordings, joined, read_recordings
from edgernn.recipes.keyword import Keyword, answer, front_end
from edgernn.runtime.errors import EdgernnError, InputError
from edgernn.runtime.spotter import Spotter
from edgernn.runtime.trigger import TriggerSettings
from edgernn.training.base import Config, Layers, Settings

Audio = NDArray[np.int16]


def said(count: int, seed: int = 0, words: int = 2) -> Recordings:
    """A few generated words by ten speakers in turn."""
    rng = np.random.default_rng(seed)
    names = tuple(WORDS)[:words]
    recordings = tuple(
        Recording(
            spoken(names[i % words], 100 + 2 * i, 0.9 + 0.004 * i, 0.1, rng),
            i % words,
            f"recording {i}",
            speaker=str(i // words % 10),
        )
        for i in range(count)
    )
    return Recordings(RATE, names, recordings, "said")


def as_npz(path: Path, found: Recordings, **more: Any) -> Path:
    audio = [r.audio for r in found.recordings]
    arrays: dict[str, Any] = {
        "audio": np.concatenate(audio),
        "offsets": np.cumsum([0, *map(len, audio)]),
        "y": np.array([r.word for r in found.recordings]),
        "class_names": np.array(found.words),
        "sample_rate": np.array(found.rate),
        **more,
    }
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def as_wav(path: Path, audio: Audio, rate: int = RATE, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(audio.tobytes())


def test_an_npz_brings_words_splits_speakers_and_a_stream(tmp_path: Path) -> None:
    given = said(6)
    stream = {
        "stream_audio": np.zeros(9000, np.int16),
        "stream_start": np.array([100, 4000]),
        "stream_end": np.array([900, 5000]),
        "stream_y": np.array([1, 0]),
    }
    path = as_npz(
        tmp_path / "a.npz", given, split=np.array(["train"] * 3 + ["val", "test", "other"]),
        speaker=np.array([0, 0, 1, 1, 1, 0]), speaker_names=np.array(["ann", "bob"]), **stream,
    )  # fmt: skip
    found = read_recordings(path)
    assert (found.rate, found.words) == (RATE, given.words)
    assert [r.split for r in found.recordings] == ["train"] * 3 + ["val", "test", "other"]
    assert found.recordings[2].speaker == "bob"
    for a, b in zip(found.recordings, given.recordings, strict=True):
        np.testing.assert_array_equal(a.audio, b.audio)
    assert found.streams[0].words.tolist() == [1, 0]
    with pytest.raises(InputError, match=r"the val split of a\.npz has no recording of 'lia'"):
        divided(found, 0)


def test_a_folder_of_wav_files_is_read(tmp_path: Path) -> None:
    given = said(8)
    for i, r in enumerate(given.recordings):
        as_wav(tmp_path / given.words[r.word] / f"ann{i % 3}_nohash_{i}.wav", r.audio)
    as_wav(tmp_path / "_noise" / "rain.wav", np.arange(5000, dtype=np.int16))
    found = read_recordings(tmp_path)
    assert found.words == tuple(sorted(given.words))
    assert len(found.recordings) == 8
    assert len(found.noises) == 1
    assert {r.speaker for r in found.recordings} == {"ann0", "ann1", "ann2"}
    by_name = {Path(r.name).stem.split("_")[-1]: r.audio for r in found.recordings}
    np.testing.assert_array_equal(by_name["3"], given.recordings[3].audio)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sample_rate": None}, "lacks the array 'sample_rate'"),
        ({"sample_rate": np.array(300)}, "not 4000 to 48000"),
        ({"audio": np.zeros(9, np.float32)}, "audio is int16 of one channel, not float32"),
        ({"offsets": np.array([0, 5, 5, 9])}, "offsets are rising whole numbers"),
        ({"y": np.zeros(3, int)}, "y is a class for each of 4"),
        ({"y": np.array([0, 1, 0, 7])}, "y has the class 7 of 2 names"),
        ({"split": np.array(["train"])}, "split is one for each of 4"),
        ({"stream_audio": np.zeros(90, np.int16)}, "stream_start, stream_end and stream_y"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    given = said(4)
    with pytest.raises(InputError, match=told) as caught:
        read_recordings(as_npz(tmp_path / "a.npz", given, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"channels": 2}, "has 2 channels; mix it down to one"),
        ({"width": 1}, "has samples of 8 bits; convert it to 16 bits"),
        ({"rate": 16000}, "resample them to one rate"),
    ],
)
def test_wav_files_that_do_not_fit_are_refused(
    options: dict[str, int], told: str, tmp_path: Path
) -> None:
    for i, r in enumerate(said(3).recordings):
        as_wav(tmp_path / "yes" / f"{i}.wav", r.audio, **(options if i == 2 else {}))
    with pytest.raises(InputError, match=told):
        read_recordings(tmp_path)


def test_what_is_no_recording_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    (tmp_path / "yes").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*a\.npz"):
        read_recordings(tmp_path)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(InputError, match=r"has no \.wav files"):
        read_recordings(tmp_path)
    (tmp_path / "yes" / "0.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(InputError, match="cannot read"):
        read_recordings(tmp_path)
    with pytest.raises(InputError, match="other has 16,000 samples a second and said 8,000"):
        joined(said(2), replace(said(2), rate=16000, name="other"), "test")
    with pytest.raises(InputError, match="other has the word 'suma', and said has not"):
        joined(said(2, words=1), replace(said(2), name="other"), "test")


def test_silence_and_what_is_long_are_refused(tmp_path: Path) -> None:
    given = said(2)
    quiet = replace(given.recordings[1], audio=np.full(3000, 8, np.int16))
    long = replace(quiet, audio=np.resize(given.recordings[0].audio, 11 * RATE))
    for one, told in ((quiet, "recording 1 of .* is silent"), (long, "lasts 11.0 s, and one word")):
        broken = replace(given, recordings=(given.recordings[0], one))
        with pytest.raises(InputError, match=told):
            read_recordings(as_npz(tmp_path / "a.npz", broken))


def test_no_speaker_is_in_two_splits_if_there_are_many() -> None:
    parts, how = divided(said(80), 0)
    speakers = [{r.speaker for r in parts[name]} for name in ("train", "val", "test")]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 10
    assert "no speaker in two" in how
    few = replace(said(80), recordings=tuple(replace(r, speaker="") for r in said(80).recordings))
    parts, how = divided(few, 0)
    assert [len(parts[n]) for n in ("train", "val", "test")] == [56, 12, 12]
    assert "by chance" in how
    with pytest.raises(InputError, match="no recording of"):
        divided(said(3), 0)


def test_a_stream_has_its_words_where_it_says() -> None:
    given = said(5)
    stream = compose(given.recordings, given, JUDGING, np.random.default_rng(0), "five")
    gaps = stream.starts[1:] - stream.ends[:-1]
    assert (gaps >= 0.3 * RATE - 1).all()
    for r, start, end in zip(given.recordings, stream.starts, stream.ends, strict=True):
        begin, stop = extent(r.audio, RATE)
        assert end - start == stop - begin
        difference = stream.audio[start:end].astype(int) - r.audio[begin:stop]
        assert np.abs(difference).max() < 60
        assert 5 < difference.std() < 11


def test_an_extent_leaves_silence_out() -> None:
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 3, 8000)
    audio[2000:5000] += rng.normal(0, 3000, 3000)
    begin, end = extent(audio.astype(np.int16), RATE)
    assert abs(begin - 2000) <= 80
    assert abs(end - 5000) <= 80


def test_labels_leave_open_what_cannot_be_known() -> None:
    given = said(1)
    front = front_end(given, {})
    assert (front.frame, front.hop, front.fft) == (256, 128, 256)
    stream = compose(given.recordings, given, JUDGING, np.random.default_rng(0), "one")
    y, inside = labels(stream, front), spans(stream, front)
    start, end = int(stream.starts[0]), int(stream.ends[0])
    for k, (label, within) in enumerate(zip(y.tolist(), inside.tolist(), strict=True)):
        now = 128 * k + 256
        assert within == (start < now <= end)
        if now <= start or now > end + 0.35 * RATE:
            assert label == 0
        elif start + 0.6 * (end - start) < now <= end + 0.2 * RATE:
            assert label == 1
        else:
            assert label == -1
    assert {0, 1, -1} <= set(y.tolist())


def test_epochs_differ_and_follow_from_the_seed() -> None:
    given = said(6)
    streams = [
        compose(given.recordings, given, LEARNING, np.random.default_rng(seed), "")
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(streams[0].audio, streams[1].audio)
    assert len(streams[0].audio) != len(streams[2].audio)
    tone = np.sin(np.arange(4000) / 10)
    assert np.abs(faster(tone, 1.25)[:3000] - np.sin(np.arange(3000) / 8)).max() < 0.01


def test_hits_misses_and_false_alarms() -> None:
    truth = Truth(np.array([10, 50, 90]), np.array([20, 60, 100]), np.array([1, 2, 1]), 200)
    found = matched([(1, 15), (1, 18), (2, 64), (2, 95), (1, 140)], truth, late=8)
    assert (found.hits, found.misses, found.false_alarms) == (2, 1, 3)
    assert found.delays == (-4, 5)
    inside = np.zeros(200, np.int64)
    for i, (a, b) in enumerate(((10, 20), (50, 60), (90, 100)), 1):
        inside[a:b] = i
    assert repr(Truth.of(inside, truth.word)) == repr(truth)


def test_the_trigger_is_tuned_to_what_is_allowed() -> None:
    rng = np.random.default_rng(0)
    classes = ("background", "yes", "no")

    def stream(seed: int) -> tuple[NDArray[np.int16], Truth]:
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, 300, (3000, 3))
        logits[:, 0] += 2500
        first = np.arange(100, 2900, 100)
        word = rng.integers(1, 3, len(first))
        for at, w in zip(first.tolist(), word.tolist(), strict=True):
            logits[at + 10 : at + 25, w] += 6500
            # A decoy, shorter and weaker.
            logits[at + 60 : at + 66, 3 - w] += 4000
        return logits.astype(np.int16), Truth(first, first + 20, word, 3000)

    logits, truth = stream(1)
    trigger = tuned([logits], [truth], classes, 62.5, allowed=1.0)
    scores = stream_scores([stream(2)[0]], [stream(2)[1]], trigger, 62.5)
    assert (scores["hits"], scores["misses"], scores["false_alarms"]) == (28, 0, 0)
    assert -150 < scores["delay_ms"] < 150
    assert scores["seconds"] == 48
    # Noise alone: the strictest trigger, and nothing found.
    noise = rng.normal(0, 300, (3000, 3)).astype(np.int16)
    assert tuned([noise], [truth], classes, 62.5, allowed=0).threshold > 0.5


def test_a_single_word_is_what_was_likely_for_longest() -> None:
    logits = np.zeros((60, 3), np.float32)
    logits[:, 0] = 5
    logits[20:23, 1] = 20
    logits[30:45, 2] = 12
    assert answer(logits).argmax() == 1
    assert answer(logits[:4]).shape == (2,)


def test_the_demonstration_is_generated() -> None:
    found = generated_words(0)
    assert len(found.recordings) == sum(SPEAKERS.values()) * len(WORDS) * 6
    assert "generated" in found.facts["source"]
    assert {r.split for r in found.recordings} == {"train", "val", "test"}


def test_a_spotter_is_trained_written_and_heard(tmp_path: Path) -> None:
    import torch

    import edgernn
    from edgernn.training.predict import integer_outputs
    from edgernn.training.train import Hardware, train

    torch.set_num_threads(1)
    given = said(60)
    parts = np.array(["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    path = as_npz(tmp_path / "words.npz", given, split=parts)
    config = Config(
        "keyword", Settings(epochs=12, batch_size=2, learning_rate=0.02), Layers(hidden=24)
    )
    run = tmp_path / "run"
    recipe = Keyword()
    trained = train(recipe, config, str(path), run, hardware=Hardware("cpu", "1"))
    scores = trained.metrics["scores"]
    assert scores["test"]["accuracy"] >= 0.9
    assert scores["stream"]["words"] == 10
    assert scores["stream"]["hits"] >= 5
    facts = json.loads((run / "facts.json").read_bytes())
    told = json.loads(json.dumps(recipe.application(facts, scores)))
    trigger = TriggerSettings.from_json(told["trigger"])
    assert trigger.classes == ("background", "lia", "suma")
    # From audio to words in integers, however it is cut.
    train_split = trained.dataset.splits["train"]
    program = edgernn.quantize(
        trained.fitted.network, (torch.zeros(1, 8, 24),), calibration=train_split.arrays["x"][:10]
    )
    assert isinstance(program, edgernn.runtime.Program)
    stream_split = trained.dataset.splits["stream"]
    int8 = recipe.score(integer_outputs(program, stream_split), stream_split, facts)
    assert abs(int8["hits"] - scores["stream"]["hits"]) <= 1
    from edgernn.runtime.logmel_settings import LogMelSettings

    spotter = Spotter(program, LogMelSettings.from_json(facts["front_end"]), trigger)
    spoken_words = compose(given.recordings[50:], given, JUDGING, np.random.default_rng(1), "ten")
    heard = spotter.push(spoken_words.audio)
    files = recipe.device_files(facts, scores, program, "kws")
    kinds = [f"kws_{part}.{end}" for part in ("logmel", "trigger") for end in "ch"]
    assert set(files) == {*kinds, "edgernn_logmel.c", "edgernn_logmel.h"}
    assert len(heard) >= 5
    spotter.reset()
    again, at = [], 0
    while at < len(spoken_words.audio):
        again += spotter.push(spoken_words.audio[at : at + 300])
        at += 300
    assert again == heard
    # The same from the command line, with the trigger that was tuned for the integer program.
    build = tmp_path / "build"
    command = ["export", str(run), "--int8", "--out", str(build), "--to", "numpy"]
    assert CliRunner().invoke(main, command).exit_code == 0
    loaded = Spotter.load(build)
    as_wav(tmp_path / "ten.wav", spoken_words.audio)
    done = CliRunner().invoke(main, ["run", str(build), "--audio", str(tmp_path / "ten.wav")])
    assert done.exit_code == 0, done.output
    words = [(f"{h.time:.2f}", h.word) for h in loaded.push(spoken_words.audio)]
    lines = [line.split() for line in done.output.splitlines()[2:-1]]
    assert [(line[0], line[1]) for line in lines] == words
    as_wav(tmp_path / "fast.wav", spoken_words.audio, rate=16000)
    done = CliRunner().invoke(main, ["run", str(build), "--audio", str(tmp_path / "fast.wav")])
    assert done.exit_code == 1
    assert "16,000 samples a second" in done.output


@pytest.mark.parametrize("content", [None, "{", "[]", '{"application": {}}'])
def test_a_folder_without_a_spotter_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(EdgernnError, match="edgernn train keyword"):
        Spotter.load(tmp_path)


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = str(as_npz(tmp_path / "words.npz", said(40)))
    for options, told in (
        ({"false_alarms": -1.0}, "0 or more an hour"),
        ({"hop": 0.0}, "hop is 1 sample"),
        ({"frame": 10.0, "hop": 20.0}, "or some would not be heard"),
        ({"bands": 150}, "would hear nothing"),
        ({"test": "nowhere.npz"}, "there is no nowhere"),
    ):
        with pytest.raises(InputError, match=told):
            Keyword().read(path, options, 0)


def test_a_cell_that_reads_backwards_is_refused() -> None:
    facts = {"features": [24], "classes": ["background", "a"]}
    with pytest.raises(InputError, match="take a cell of one direction"):
        Keyword().network(facts, Layers(cell="bigru"))


def test_spotters_of_other_sizes_are_refused() -> None:
    from tests.programs import random_program

    front = front_end(said(1), {})
    trigger = TriggerSettings(("background", "a"), 3, 1.0, 3)
    with pytest.raises(InputError, match="one input of that size"):
        Spotter(random_program(["gru"], [4], 23, 0, 2), front, trigger)
    with pytest.raises(InputError, match="one output"):
        Spotter(random_program(["gru"], [4], 24, 0, 3), front, trigger)
    assert float(LOGITS) == 2.0**-10
