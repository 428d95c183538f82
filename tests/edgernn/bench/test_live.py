"""A stream followed live: sources, deadlines on a clock of our own, and the screen."""

from __future__ import annotations

import io
import json
import math
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgernn.bench.live.follow import Follower, Progress, parse_speed
from edgernn.bench.live.screen import Screen, bar, described, state_line
from edgernn.bench.live.sources import Item, Source, open_source
from edgernn.bench.live.wav import samples
from edgernn.cli import main
from edgernn.runtime import StepRuntime, save_program
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.program import Program
from tests.programs import random_program


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(["gru"], [5], 2, 0, 3)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def rows(source: Source) -> list[list[float]]:
    return [item.values.tolist() for item in source.items]


# -- sources ------------------------------------------------------------------------------------


def test_a_csv_is_replayed_at_a_rate(tmp_path: Path) -> None:
    source = open_source(written(tmp_path / "x.csv", "1,2\n\n3,4\n"), 2, rate=50.0)
    assert (source.period, source.count, source.paced) == (0.02, 2, True)
    assert [(i.values.tolist(), i.due) for i in source.items] == [([1, 2], 0.0), ([3, 4], 0.02)]


@pytest.mark.parametrize(
    "text",
    [
        "time,a,b\n10,1,2\n10.5,3,4\n11.5,5,6\n11.6,7,8\n",
        "a;b;Time (s)\n1;2;10\n3;4;10.5\n5;6;11.5\n7;8;11.6\n",
        "10\t1\t2\n10.5\t3\t4\n11.5\t5\t6\n11.6\t7\t8\n",
    ],
)
def test_a_csv_with_times_is_replayed_at_its_own(tmp_path: Path, text: str) -> None:
    source = open_source(written(tmp_path / "x.csv", text), 2)
    assert source.period == pytest.approx(0.5)
    items = list(source.items)
    assert [i.values.tolist() for i in items] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert [i.due for i in items] == pytest.approx([0.0, 0.5, 1.5, 1.6])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,four\n", "line 2, column 2: 'four' is no number"),
        ("a,b\n1,2\n3,nan\n", "line 3, column 2: 'nan'"),
        ("1,2\n-inf,3\n", "line 2, column 1: '-inf'"),
        ("1,2\n3,4,5\n", "line 2: 3 columns, and the first line has 2"),
        ("1,2,3,4\n", "line 1: 4 columns, and a step of this program takes 2"),
        ("a,b,c\n1,2,3\n", "line 1: 3 columns, and a step of this program takes 2"),
        ("time,a,b\n1,1,1\n0.5,1,1\n", "step 2: its time 0.5 s is before 1 s"),
        ("time (ms),a,b\n0,1,1\n10,1,1\n", "a column of time in seconds in front"),
        ("1,2\n3,1e39\n", "line 2, column 2: '1e39' is not finite in float32"),
        ("1,2\n" + "3" * 200_000 + ",4\n", "line 2: field larger than"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    name = written(tmp_path / "x.csv", text)
    timed = {} if text.startswith("time,") else {"rate": 10.0}
    with pytest.raises(InputError, match=r"x\.csv") as caught:
        list(open_source(name, 2, **timed).items)
    assert message in str(caught.value)


def test_what_is_asked_of_a_source_must_make_sense(tmp_path: Path) -> None:
    plain = written(tmp_path / "x.csv", "1,2\n")
    stamped = written(tmp_path / "t.csv", "0,1,2\n1,3,4\n")
    for arguments, message in (
        ((plain, 2, {}), "give --rate"),
        ((stamped, 2, {"rate": 5.0}), "times of its own"),
        ((str(tmp_path / "none.csv"), 2, {}), "there is no file"),
        ((plain, 2, {"rate": 1.0, "layout": "int16"}), "--format"),
    ):
        name, features, options = arguments
        with pytest.raises(InputError, match=message):
            open_source(name, features, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        with pytest.raises(InputError, match="stdin is closed"):
            open_source("-", 2)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="cannot read"):
        open_source(str(tmp_path / "b.csv"), 2, rate=1.0)


def test_lines_come_from_stdin_as_they_are_read() -> None:
    source = open_source("-", 2, stdin=io.BytesIO(b"a,b\n1,2\n3,4"))
    assert (source.period, source.paced) == (None, False)
    assert rows(source) == [[1, 2], [3, 4]]
    source = open_source("-", 2, stdin=io.BytesIO(b"1,2\n3\n"), rate=100.0)
    assert source.period == 0.01
    assert next(source.items).due is None
    with pytest.raises(InputError, match="stdin, line 2: 1 columns"):
        next(source.items)


class Trickle(io.BytesIO):
    """A pipe that gives three bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size or 3))


@pytest.mark.parametrize("stream", [io.BytesIO, Trickle])
def test_raw_numbers_come_from_stdin(stream: type[io.BytesIO]) -> None:
    values = np.array([[16384, -32768], [0, 8192]], np.int16)
    source = open_source("-", 2, layout="int16", stdin=stream(values.tobytes()))
    assert rows(source) == [[0.5, -1.0], [0.0, 0.25]]
    floats = np.array([[1.5, -2.0]], np.float32)
    assert rows(open_source("-", 2, layout="float32", stdin=stream(floats.tobytes()))) == [
        [1.5, -2.0]
    ]
    broken = open_source("-", 2, layout="int16", stdin=stream(values.tobytes()[:-1]))
    next(broken.items)
    with pytest.raises(InputError, match="within step 2: 3 of its 4 bytes"):
        next(broken.items)
    nan = np.array([[1.0, np.nan]], np.float32).tobytes()
    with pytest.raises(InputError, match="step 1: NaN"):
        list(open_source("-", 2, layout="float32", stdin=stream(nan)).items)


def wav(path: Path, data: bytes, channels: int, width: int, rate: int = 100) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return str(path)


def test_a_wav_is_cut_into_steps(tmp_path: Path) -> None:
    data = np.arange(-4, 5, dtype="<i2") * 4096
    source = open_source(wav(tmp_path / "x.wav", data.tobytes(), 1, 2), 4)
    assert (source.period, source.count, source.paced) == (0.04, 2, True)
    items = list(source.items)
    assert [i.due for i in items] == pytest.approx([0.0, 0.04])
    # The ninth sample is no whole step.
    assert items[1].values.tolist() == [0.0, 0.125, 0.25, 0.375]
    stereo = open_source(wav(tmp_path / "s.wav", data[:8].tobytes(), 2, 2), 2)
    assert stereo.count == 4
    assert next(stereo.items).values.tolist() == [-0.5, -0.375]


def test_a_wav_longer_than_a_chunk_loses_nothing(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(-32768, 32768, 20_000).astype("<i2")
    source = open_source(wav(tmp_path / "x.wav", data.tobytes(), 1, 2, 16_000), 2)
    found = list(source.items)
    assert np.array_equal(np.concatenate([i.values for i in found]) * 32768, data)
    assert found[-1].due == pytest.approx(2 * 9_999 / 16_000)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width_are_within_one(width: int) -> None:
    integers = np.array([-(1 << (8 * width - 1)), 0, 1 << (8 * width - 2)])
    offset = 128 if width == 1 else 0
    data = b"".join(int(v + offset).to_bytes(width, "little", signed=width > 1) for v in integers)
    assert samples(data, width).tolist() == [-1.0, 0.0, 0.5]


def test_a_wav_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    name = wav(tmp_path / "x.wav", bytes(24), 3, 2)
    with pytest.raises(InputError, match="3 channels, and a step of this program takes 4"):
        open_source(name, 4)
    with pytest.raises(InputError, match="a rate of its own"):
        open_source(name, 3, rate=5.0)
    for content, reason in (("RIFF, but no more", "not a WAVE"), ("R", "too short")):
        with pytest.raises(FileFormatError, match=rf"no PCM \.wav file \(.*{reason}"):
            open_source(written(tmp_path / "y.wav", content), 3)
    whole = wav(tmp_path / "z.wav", bytes(64), 1, 2)
    Path(whole).write_bytes(Path(whole).read_bytes()[:-20])
    with pytest.raises(EdgernnError):
        list(open_source(whole, 4).items)


# -- deadlines ----------------------------------------------------------------------------------


class Fake:
    """A clock, a sleep, and a program whose steps take what we say."""

    def __init__(self, program: Program, takes: list[float]) -> None:
        self.now, self.takes, self.slept = 0.0, takes, list[float]()
        self.runtime = StepRuntime(program)
        self.plain = self.runtime.step
        # What warms it up comes before and takes no time.
        self.started, self.steps = False, 0
        self.runtime.step = self.step  # type: ignore[method-assign]

    def step(self, *x: Any) -> Any:
        if self.started:
            self.now += self.takes[self.steps]
            self.steps += 1
        return self.plain(*x)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.slept.append(seconds)
        self.now += seconds


def follow(
    program: Program, takes: list[float], speed: float = 1.0, paced: bool = True
) -> tuple[Any, Fake]:
    fake = Fake(program, takes)

    def items() -> Iterator[Item]:
        fake.started = True
        for i in range(len(takes)):
            yield Item(np.full(2, 0.1 * i, np.float32), 0.1 * i)

    source = Source("test", items(), 0.1, len(takes), paced)
    follower = Follower(fake.runtime, source, speed, None, lambda: fake.now, fake.sleep)
    return follower.run(), fake


def test_steps_wait_until_they_are_due(program: Program) -> None:
    summary, fake = follow(program, [0.02] * 4)
    assert fake.slept == pytest.approx([0.08] * 3)
    assert (summary.steps, summary.misses, summary.end) == (4, 0, "end of stream")
    assert summary.load == pytest.approx(0.2)
    assert summary.latency == pytest.approx(0.02)
    assert summary.elapsed == pytest.approx(0.32)
    assert summary.seconds == pytest.approx((0.02, 0.02, 0.02))


def test_a_late_step_delays_those_behind_it_and_each_is_a_miss(program: Program) -> None:
    """The second takes 0.25 s of its 0.1: it ends at 0.35, the third at 0.37, late, the fourth at
    0.39 in time."""
    summary, fake = follow(program, [0.02, 0.25, 0.02, 0.02, 0.02])
    assert summary.misses == 2
    assert summary.latency == pytest.approx(0.25)
    assert fake.slept == pytest.approx([0.08, 0.01])
    assert summary.seconds[2] == pytest.approx(0.25)


def test_a_faster_replay_leaves_less_time(program: Program) -> None:
    summary, fake = follow(program, [0.02] * 4, speed=4.0)
    assert summary.period == pytest.approx(0.025)
    assert summary.load == pytest.approx(0.8)
    assert fake.slept == pytest.approx([0.005] * 3)
    assert follow(program, [0.03] * 4, speed=4.0)[0].misses == 4


@pytest.mark.parametrize(("speed", "paced"), [(math.inf, True), (1.0, False)])
def test_without_waiting_a_step_has_the_stream_s_own_time(
    program: Program, speed: float, paced: bool
) -> None:
    summary, fake = follow(program, [0.02, 0.3, 0.02], speed, paced)
    assert fake.slept == []
    assert summary.period == 0.1
    assert (summary.misses, summary.steps) == (1, 3)


def test_the_state_moves_as_it_would_and_warming_leaves_no_trace(program: Program) -> None:
    summary, fake = follow(program, [0.0] * 6)
    runtime = StepRuntime(program)
    for i in range(6):
        y = runtime.step(np.full(2, 0.1 * i, np.float32))
    assert summary.steps == 6
    for name, value in runtime.state.items():
        assert np.array_equal(fake.runtime.state[name], value)
    assert y.shape == (3,)


def test_ctrl_c_ends_with_a_summary(program: Program) -> None:
    def items() -> Iterator[Item]:
        yield Item(np.zeros(2, np.float32))
        raise KeyboardInterrupt

    summary = Follower(StepRuntime(program), Source("test", items(), None)).run()
    assert (summary.steps, summary.end, summary.load) == (1, "interrupted", None)
    assert "--rate" in summary.text()
    nothing = Follower(StepRuntime(program), Source("test", iter(()), None)).run()
    assert "no steps" in nothing.text()


def test_speeds() -> None:
    assert (parse_speed("4"), parse_speed("max")) == (4.0, math.inf)
    for wrong in ("0", "-1", "inf", "nan", "fast"):
        with pytest.raises(InputError, match="--speed"):
            parse_speed(wrong)


# -- what is shown ------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(program: Program, out: io.StringIO, moments: list[float]) -> list[str]:
    runtime, now = StepRuntime(program), Progress(load=0.5, worst=0.002)
    ticks = iter(moments)
    source = Source("test", iter(()), 0.1, 10)
    with Screen(program, source, out, lambda: next(ticks), lambda: (60, 24)) as screen:
        for i in range(len(moments)):
            now.steps = i + 1
            now.outputs = {"y": runtime.step(np.full(2, 1.0, np.float32))}
            screen.show(now, runtime)
    return out.getvalue().splitlines()


def test_a_pipe_gets_a_line_a_second_and_the_last_step(program: Program) -> None:
    lines = show(program, io.StringIO(), [0.0, 0.4, 0.9, 1.1, 1.2])
    assert [line.split()[1] for line in lines] == ["1", "4", "5"]
    assert "load 50.00 %" in lines[0]
    assert "misses 0" in lines[0]
    assert not any("\x1b" in line for line in lines)


def test_a_terminal_is_drawn_in_place(program: Program) -> None:
    out = Terminal()
    show(program, out, [0.0, 0.05, 0.2])
    text = out.getvalue()
    assert text.startswith("\x1b[?25l")
    assert text.endswith("\x1b[?25h")
    frames = text.split("\x1b[J")[1:]
    assert len(frames) == 2
    height = frames[0].count("\n")
    # Name, timing, output, one state.
    assert height == 4
    assert f"\x1b[{height}F" in text
    assert "step 3 of 10" in frames[-1]
    assert "rms" in frames[-1]
    assert all(len(line) < 60 for line in frames[0].splitlines())


def test_outputs_in_words() -> None:
    y = np.array([0.0, 2.0, 1.0], np.float32)
    assert described(y, "", final=True) == "class 1, score 2.000"
    assert described(y, "softmax", final=False) == "class 1, score 0.665"
    assert described(y, "", final=False) == "0 2 1"
    assert described(np.zeros(1, np.float32), "sigmoid", final=True) == "0.5"
    many = np.arange(9, dtype=np.float32)
    assert described(-many, "", final=False).endswith("of 9, largest [8] -8")


def test_bars_and_states() -> None:
    assert bar(0.0, 4) == "[    ]"
    assert bar(0.5, 4) == "[██  ]"
    assert bar(0.28, 4) == "[█▏  ]"
    assert bar(7.0, 4) == bar(1.0, 4) == "[████]"
    line = state_line(np.array([32767, -32768, 0, 0], np.int16), 2.0**-15)
    assert "saturated 2" in line
    assert "unit 1 -1" in line
    assert "rms 0.707" in line


# -- the command --------------------------------------------------------------------------------


def test_the_command_follows_stdin_and_files(tmp_path: Path, program: Program) -> None:
    save_program(program, tmp_path / "model.safetensors")
    run = CliRunner().invoke
    arguments = ["bench", str(tmp_path), "--live"]
    result = run(main, [*arguments, "-", "--json"], input="0.5,1\n0.25,2\n")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["steps"] == 2
    wrong = run(main, [*arguments, "-"], input="0.5,1\n0.25,x\n")
    assert wrong.exit_code == 1
    assert "stdin, line 2, column 2: 'x' is no number" in wrong.output
    path = written(tmp_path / "x.csv", "1,2\n" * 20)
    result = run(main, [*arguments, path, "--rate", "100", "--speed", "max"])
    assert result.exit_code == 0, result.output
    assert "deadline misses" in result.output
    empty = run(main, ["bench", str(tmp_path / "none"), "--live", "-"], input="")
    assert empty.exit_code == 1
    assert "holds no model.safetensors" in empty.output
