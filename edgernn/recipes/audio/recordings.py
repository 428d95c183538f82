"""Recordings of single words, and streams of them with times: from .npz files and .wav folders.

An .npz has `audio` int16, all recordings one after the other; `offsets` (N + 1,), recording i being
audio[offsets[i]:offsets[i+1]]; `y` (N,) class indices or names; `sample_rate`; and perhaps
`class_names`, `split` and `speaker` (N,), `noise` int16, and a stream: `stream_audio` int16,
`stream_start`, `stream_end` (K,) in samples, `stream_y` (K,). A folder has a folder of .wav files
for each word, perhaps within folders train, val and test; one whose name begins with `_` holds
noise. The speaker is what stands before the first `_` of a file's name, if all names have one.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.arrays import reason_of
from edgernn.runtime.errors import InputError

Audio = NDArray[np.int16]
SILENCE: Final = 8
"""The largest sample of a recording in which nothing was said."""
RATES: Final = (4000, 48000)
LONGEST: Final = 10.0
"""Seconds of one word."""


@dataclass(frozen=True)
class Recording:
    """One word. word: index among the words. split, speaker: "" if not known. name: where it is
    from, for messages."""

    audio: Audio
    word: int
    name: str
    split: str = ""
    speaker: str = ""


@dataclass(frozen=True)
class Stream:
    """Many words. starts, ends: (K,) samples; words: (K,) indices. composed: of recordings."""

    audio: Audio
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    words: NDArray[np.int64]
    name: str
    composed: bool = False


@dataclass(frozen=True)
class Recordings:
    """What was read. rate: samples a second. noises: in which no word is said."""

    rate: int
    words: tuple[str, ...]
    recordings: tuple[Recording, ...]
    name: str
    streams: tuple[Stream, ...] = ()
    noises: tuple[Audio, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def read_recordings(path: Path) -> Recordings:
    """Recordings of a file or folder; InputError, one sentence, for what does not fit."""
    if path.is_dir():
        found = _folder(path)
    elif path.suffix == ".npz":
        found = _npz(path)
    else:
        raise InputError(
            f"{path} holds no recordings; name an .npz with audio, offsets and y, or a folder with "
            "a folder of .wav files for each word"
        )
    _check(found)
    return found


def joined(first: Recordings, second: Recordings, split: str) -> Recordings:
    """Both, the second's recordings that say no split being of `split`."""
    if first.rate != second.rate:
        raise InputError(
            f"{second.name} has {second.rate:,} samples a second and {first.name} {first.rate:,}; "
            "resample one of them"
        )
    unknown = sorted(set(second.words) - set(first.words))
    if unknown:
        raise InputError(f"{second.name} has the word {unknown[0]!r}, and {first.name} has not")
    index = np.array([first.words.index(word) for word in second.words])
    more = [replace(r, word=int(index[r.word]), split=r.split or split) for r in second.recordings]
    streams = [replace(s, words=index[s.words]) for s in second.streams]
    return replace(
        first,
        recordings=(*first.recordings, *more),
        streams=(*first.streams, *streams),
        noises=(*first.noises, *second.noises),
    )


def _check(found: Recordings) -> None:
    low, high = RATES
    if not low <= found.rate <= high:
        raise InputError(f"{found.name} has {found.rate} samples a second, not {low} to {high}")
    if not found.recordings:
        raise InputError(f"{found.name} has no recordings")
    if len(found.words) < 1 or len(found.words) > 1000:
        raise InputError(f"{found.name} has {len(found.words)} words, not 1 to 1000")
    for r in found.recordings:
        if not len(r.audio) or np.abs(r.audio.astype(np.int32)).max() <= SILENCE:
            raise InputError(f"{r.name} is silent; leave it out")
        if len(r.audio) > LONGEST * found.rate:
            raise InputError(
                f"{r.name} lasts {len(r.audio) / found.rate:.1f} s, and one word at most "
                f"{LONGEST:g} s; cut it"
            )


def _npz(path: Path) -> Recordings:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise InputError(f"cannot read {path}: {reason_of(error)}") from None
    absent = [name for name in ("audio", "offsets", "y", "sample_rate") if name not in arrays]
    if absent:
        raise InputError(f"{path} lacks the array {absent[0]!r}, and recordings need it")
    audio, offsets = arrays["audio"], arrays["offsets"]
    _require_audio(audio, f"{path}: audio")
    rising = offsets.ndim == 1 and len(offsets) > 1 and offsets.dtype.kind in "iu"
    if not rising or offsets[0] != 0 or (np.diff(offsets) < 1).any() or offsets[-1] != len(audio):
        raise InputError(
            f"{path}: offsets are rising whole numbers from 0 to the {len(audio)} of audio"
        )
    count = len(offsets) - 1
    if arrays["y"].shape != (count,):
        raise InputError(f"{path}: y is a class for each of {count} recordings")
    rate = arrays["sample_rate"]
    if rate.size != 1 or rate.dtype.kind not in "iu":
        raise InputError(f"{path}: sample_rate is one whole number")
    words, y = _classes(path, arrays)
    splits, speakers = (_names(path, arrays, key, count) for key in ("split", "speaker"))
    recordings = tuple(
        Recording(
            audio[offsets[i] : offsets[i + 1]], y[i], f"recording {i} of {path}", splits[i],
            speakers[i],
        )
        for i in range(count)
    )  # fmt: skip
    noises: tuple[Audio, ...] = ()
    if "noise" in arrays:
        _require_audio(arrays["noise"], f"{path}: noise")
        noises = (arrays["noise"],)
    facts = {"licence": str(arrays["license"])} if "license" in arrays else {}
    streams = _stream(path, arrays, words)
    return Recordings(int(rate), words, recordings, path.name, streams, noises, facts)


def _require_audio(audio: NDArray[Any], what: str) -> None:
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise InputError(f"{what} is int16 of one channel, not {audio.dtype}{audio.shape}")


def _classes(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[tuple[str, ...], list[int]]:
    y = arrays["y"]
    if y.dtype.kind == "U":
        names = tuple(sorted(set(y.tolist())))
        return names, [names.index(name) for name in y.tolist()]
    if y.dtype.kind not in "iu":
        raise InputError(f"{path}: y is class indices or names, not {y.dtype}")
    given = arrays.get("class_names")
    names = tuple(map(str, given.tolist() if given is not None else range(int(y.max()) + 1)))
    if y.min() < 0 or y.max() >= len(names):
        raise InputError(f"{path}: y has the class {int(y.max())} of {len(names)} names")
    return names, y.astype(int).tolist()


def _names(path: Path, arrays: dict[str, NDArray[Any]], key: str, count: int) -> list[str]:
    if key not in arrays:
        return [""] * count
    if arrays[key].shape != (count,):
        raise InputError(f"{path}: {key} is one for each of {count} recordings")
    named = arrays.get(f"{key}_names")
    values = arrays[key].tolist()
    return [str(named[v]) if named is not None else str(v) for v in values]


def _stream(
    path: Path, arrays: dict[str, NDArray[Any]], words: tuple[str, ...]
) -> tuple[Stream, ...]:
    if "stream_audio" not in arrays:
        return ()
    audio = arrays["stream_audio"]
    _require_audio(audio, f"{path}: stream_audio")
    parts = [arrays.get(f"stream_{name}") for name in ("start", "end", "y")]
    if any(p is None or p.ndim != 1 or len(p) != len(parts[0]) for p in parts):  # type: ignore[arg-type]
        raise InputError(f"{path}: stream_start, stream_end and stream_y are one for each word")
    raw = [np.asarray(p) for p in parts]
    if raw[2].dtype.kind == "U":
        unknown = sorted(set(raw[2].tolist()) - set(words))
        if unknown:
            raise InputError(f"{path}: stream_y has {unknown[0]!r}, which is no word of y")
        raw[2] = np.array([words.index(name) for name in raw[2].tolist()])
    start, end, y = (p.astype(np.int64) for p in raw)
    sound = (start >= 0).all() and (start < end).all() and (end <= len(audio)).all()
    if not sound or (np.diff(start) <= 0).any() or (y < 0).any() or (y >= len(words)).any():
        raise InputError(
            f"{path}: the words of the stream lie within it, one after the other, each a known one"
        )
    return (Stream(audio, start, end, y, f"the stream of {path.name}"),)


def _folder(path: Path) -> Recordings:
    files = sorted(path.glob("*.npz"))
    if files:
        parts = [_npz(file) for file in files]
        # A file that says nothing of splits is one itself, if it is called so.
        named = [
            replace(
                p, recordings=tuple(replace(r, split=r.split or _split(f)) for r in p.recordings)
            )
            for p, f in zip(parts, files, strict=True)
        ]
        whole = named[0]
        for part in named[1:]:
            whole = joined(whole, part, "")
        return replace(whole, name=path.name)
    tops = {name: path / name for name in ("train", "val", "test") if (path / name).is_dir()}
    tops = tops if "train" in tops else {"": path}
    words = sorted({f.name for top in tops.values() for f in _word_folders(top)})
    if not words:
        raise InputError(f"{path} has no folders of .wav files, one for each word")
    rates: dict[int, str] = {}
    recordings, noises = [], []
    for split, top in tops.items():
        for file in sorted(top.glob("_*/*.wav")):
            noises.append(read_wav(file, rates))
        for folder in _word_folders(top):
            for file in sorted(folder.glob("*.wav")):
                head, mark, _ = file.stem.partition("_")
                audio, word = read_wav(file, rates), words.index(folder.name)
                recordings.append(Recording(audio, word, str(file), split, head if mark else ""))
    if len(rates) > 1:
        (a, one), (b, other) = list(rates.items())[:2]
        raise InputError(
            f"{one} has {a:,} samples a second and {other} {b:,}; resample them to one rate"
        )
    if not rates:
        raise InputError(f"{path} has no .wav files in its folders")
    if not all(r.speaker for r in recordings):
        recordings = [replace(r, speaker="") for r in recordings]
    return Recordings(
        next(iter(rates)), tuple(words), tuple(recordings), path.name, (), tuple(noises)
    )


def _split(file: Path) -> str:
    return next((s for s in ("train", "val", "test") if file.stem.split("_")[-1] == s), "")


def _word_folders(top: Path) -> list[Path]:
    hidden = ("_", ".")
    return [f for f in sorted(top.iterdir()) if f.is_dir() and not f.name.startswith(hidden)]


def read_wav(path: Path, rates: dict[int, str]) -> Audio:
    """The samples of a .wav file, one channel of 16 bits; its rate is noted in `rates`, beside the
    first file that has it. InputError for another kind."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width = file.getnchannels(), file.getsampwidth()
            rate, content = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise InputError(
            f"cannot read {path}: {error or 'it ends early'}; PCM of 16 bits is read"
        ) from None
    if channels != 1:
        raise InputError(f"{path} has {channels} channels; mix it down to one")
    if width != 2:
        raise InputError(f"{path} has samples of {8 * width} bits; convert it to 16 bits")
    rates.setdefault(rate, str(path))
    return np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.int16)
