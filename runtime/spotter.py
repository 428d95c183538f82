"""A keyword spotter: audio in, words with their times out, integers all the way."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.runtime.file import load_program
from edgernn.runtime.logmel import IntegerLogMel
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.program import Program
from edgernn.runtime.trigger import Trigger, TriggerSettings


@dataclass(frozen=True)
class Heard:
    """A word, the time at which it was known, in seconds from the first sample, and its score, the
    average margin to the other classes in units of the logits."""

    word: str
    time: float
    score: float


class Spotter:
    """The front end, the program and the trigger in a row; what the exported C does, bit for bit.

    InputError if the three do not fit together.
    """

    def __init__(self, program: Program, front: LogMelSettings, trigger: TriggerSettings) -> None:
        inputs = [program.tensors[name] for name in program.inputs]
        outputs = [program.tensors[name] for name in program.outputs.values()]
        if len(inputs) != 1 or inputs[0].size != front.bands:
            raise InputError(f"a program behind {front.bands} bands has one input of that size")
        if len(outputs) != 1 or outputs[0].size != len(trigger.classes):
            raise InputError(
                f"a program in front of a trigger of {len(trigger.classes)} classes has one output "
                "of that size"
            )
        self.front = IntegerLogMel(front, inputs[0].scale)
        self.runtime = StepRuntime(program)
        self.trigger = Trigger(trigger, outputs[0].scale)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Spotter:
        """The spotter of a folder that `edgernn export` made of a keyword run.

        InputError or FileFormatError if it is none, or damaged.
        """
        path = Path(folder) / "recipe.json"
        try:
            told = json.loads(path.read_text(encoding="utf-8"))["application"]
            front = LogMelSettings.from_json(told["front_end"])
            trigger = TriggerSettings.from_json(told["trigger"])
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror or error}; a spotter is what edgernn export "
                "makes of a run of edgernn train keyword"
            ) from None
        except (ValueError, LookupError, TypeError, RecursionError):
            raise FileFormatError(
                f"{path} describes no front end and trigger; export a run of edgernn train keyword"
            ) from None
        return cls(load_program(Path(folder) / "model.safetensors"), front, trigger)

    def reset(self) -> None:
        """Before the first sample."""
        self.front.reset()
        self.runtime.reset()
        self.trigger.reset()

    def logits(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """The next samples (n,) int16 -> the logits (k, classes) int16 of the frames they end."""
        features = self.front.push(samples)
        if not len(features):
            return np.zeros((0, len(self.trigger.settings.classes)), np.int16)
        logits: NDArray[np.int16] = self.runtime.run_int(features)
        return logits

    def push(self, samples: NDArray[np.int16]) -> list[Heard]:
        """The next samples (n,) int16, any number -> the words that are known with them."""
        s = self.front.settings
        return [
            Heard(e.name, (e.frame * s.hop + s.frame) / s.sample_rate, e.score)
            for e in self.trigger.push(self.logits(samples))
        ]
