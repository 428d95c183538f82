"""Which recipes there are, and their own options: read by the command line, so nothing heavy here.

A recipe's module is imported when it is used. To add one: a class of `edgernn.training.base.Recipe`
in a module of its own, and an entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from edgernn.training.base import Recipe


@dataclass(frozen=True)
class Option:
    """An option of one recipe: `--name VALUE`, or a flag if the default is a bool.

    The value's type is that of the default; kind says it where the default is None. choices: if
    there are only these. least, most: of numbers.
    """

    name: str
    help: str
    default: Any = None
    kind: type = str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Entry:
    """A recipe: the module it is in, its class there, what `edgernn train --help` says of it."""

    module: str
    recipe: str
    help: str
    options: tuple[Option, ...] = ()


LABEL: Final = Option("label", "Column, or array of an .npz, with the labels; default: y or label.")
COLUMNS: Final = Option("columns", "Columns to read, comma-separated; with - in front all but it.")
SPLIT: Final = Option(
    "split", "Shares of train,val,test where the data has none; default 60,20,20."
)
TIME: Final = Option("time", "Column, or array, with the time of each step.")
SEQUENCE: Final = Option("sequence", "Column of a .csv that says which sequence a row belongs to.")
SERIES: Final = Option("series", "Names of the streams to read, comma-separated; default: all.")
LOG: Final = Option("log", "Columns of which log(1 + value) is read, comma-separated.")
SCALE: Final = Option(
    "scale", "Standardize all streams alike, or each by its own.", None, choices=("all", "stream")
)
KINDS: Final = ("words", "characters", "bytes")
CALIBRATE: Final = Option(
    "calibrate", "Standardize each stream by so many of its first rows.", None, int
)
TARGET: Final = Option("target", "Columns that the network answers for; default: all.")
TOKENS: Final = (
    Option("tokens", "How text is cut.", "words", choices=KINDS),
    Option("minimum", "How often a token occurs in train to be known.", 2, least=1),
    Option("vocabulary", "Tokens that are known, at most; the most frequent ones.", 20000, least=1),
    Option("length", "Tokens of a text that are read, the first ones; 0 for all.", 0, least=0),
)
TEXT: Final = Option("text", "Column with the texts.", "text")
CHOSEN_BY: Final = ("accuracy", "macro_f1", "auroc", "val_loss")
STREAMS: Final = (COLUMNS, SPLIT, TIME, SEQUENCE, SERIES, LOG, SCALE, CALIBRATE)

RECIPES: Final[dict[str, Entry]] = {
    "classify": Entry(
        "edgernn.recipes.classify",
        "Classify",
        "A class for each whole sequence: gestures, sensors, speech features.",
        (
            LABEL,
            COLUMNS,
            SPLIT,
            TIME,
            SEQUENCE,
            Option(
                "missing",
                "What missing values become: the last value and how old it is, the mean, or for "
                "the cell gru_d its own inputs; default forward.",
                choices=("forward", "zero", "decay"),
            ),
            Option(
                "outliers",
                "Standard deviations from the mean that a value keeps at most.",
                None,
                kind=float,
                least=0,
            ),
            Option("static", "Array with one vector for each sequence, read at every step too."),
            Option(
                "select",
                "Score that the best epoch is chosen by; default accuracy.",
                choices=CHOSEN_BY,
            ),
        ),
    ),
    "tag": Entry(
        "edgernn.recipes.tag",
        "Tag",
        "A class for each step of a stream: occupancy, events, states of a machine.",
        (
            LABEL,
            *STREAMS,
            Option(
                "select",
                "Score that the best epoch is chosen by; default accuracy.",
                choices=CHOSEN_BY,
            ),
        ),
    ),
    "forecast": Entry(
        "edgernn.recipes.forecast",
        "Forecast",
        "The next values of a series of sensors, or with --label a number such as remaining life.",
        (
            *STREAMS,
            TARGET,
            Option("horizon", "Steps ahead that are forecast; default 1.", None, int),
            Option(
                "lookback",
                "Steps of the windows that the network reads before it answers once, or 0 for a "
                "stream and an answer at each step; default 0, with --label 30.",
                None,
                int,
            ),
            Option(
                "period", "Steps of a season, for the naive baseline; default: found.", None, int
            ),
            Option("label", "Column, or array, with a number for each step, forecast instead."),
            Option("clip_label", "Labels above this count as this.", None, float),
        ),
    ),
    "reconstruct": Entry(
        "edgernn.recipes.reconstruct",
        "Reconstruct",
        "The missing values of a series of sensors, and how sure they are.",
        (
            *STREAMS,
            TARGET,
            Option("span", "Steps of the windows that the network reads; default 96.", None, int),
            Option("block", "Steps of the gaps that are made; default 12.", None, int),
            Option(
                "fill",
                "What the network reads in a gap, to correct it: linear interpolation, the last "
                "value, or the mean; default linear.",
                choices=("linear", "hold", "zero"),
            ),
        ),
    ),
    "detect": Entry(
        "edgernn.recipes.detect",
        "Detect",
        "What is unusual in a stream, by the error of a forecast; alarms by a threshold.",
        (
            Option("label", "Column, or array, 1 where a row is unusual; default: anomaly."),
            *STREAMS,
            Option("horizon", "Steps ahead that are forecast; default 10.", None, int),
            Option("smooth", "Rows over which errors are averaged; default 30.", None, int),
            Option(
                "alarms",
                "False alarms wanted a day, or without a time in 1,000 rows; default 1.",
                None,
                float,
            ),
            Option(
                "judge",
                "By the forecast's error and the distance from the mean, or by the error alone; "
                "default both.",
                choices=("both", "error"),
            ),
        ),
    ),
    "sentiment": Entry(
        "edgernn.recipes.sentiment",
        "Sentiment",
        "A class for a text, such as negative or positive, word by word.",
        (
            TEXT,
            LABEL,
            *TOKENS,
            Option("plain", "Without the part that averages what single words say.", False),
            Option(
                "word_dropout",
                "Share of words that become unknown, others each epoch.",
                0.2,
                least=0,
                most=1,
            ),
        ),
    ),
    "hierarchy": Entry(
        "edgernn.recipes.hierarchy",
        "Hierarchy",
        "A path of labels for a text, one on each of several levels.",
        (
            TEXT,
            Option("levels", "Columns with the labels, from the top, with commas; default: all."),
            *TOKENS,
            Option(
                "word_dropout",
                "Share of words that become unknown, others each epoch.",
                0.15,
                least=0,
                most=1,
            ),
            Option("attention", "Features that categories look at.", 32, least=1),
            Option("dense", "Units of each level's hidden layer.", 128, least=1),
            Option(
                "wide",
                "Numbers a token of a part that averages what words say; 0: none.",
                64,
                least=0,
            ),
            Option("alpha", "Share of the global answer in the one that counts, 0 to 1.", 0.5),
        ),
    ),
    "generate": Entry(
        "edgernn.recipes.generate",
        "Generate",
        "The next character or word of a text, and texts made of them.",
        (
            Option("tokens", "How text is cut.", "characters", choices=KINDS),
            Option("minimum", "How often a token occurs in train to be known.", 1, least=1),
            Option(
                "vocabulary",
                "Tokens that are known, at most; the most frequent ones.",
                20000,
                least=1,
            ),
        ),
    ),
    "keyword": Entry(
        "edgernn.recipes.keyword",
        "Keyword",
        "Spoken words in a stream of audio: recordings of words in, a spotter out.",
        (
            Option("test", "A further .npz, or folder, of recordings that are only scored."),
            Option("bands", "Mel bands.", 24),
            Option("frame", "Milliseconds of a frame.", 32.0),
            Option("hop", "Milliseconds from frame to frame.", 16.0),
            Option(
                "false_alarms", "An hour, at most, in the streams the trigger is tuned on.", 20.0
            ),
        ),
    ),
}


def load_recipe(name: str) -> Recipe:
    """The recipe of a name in RECIPES."""
    entry = RECIPES[name]
    made: Recipe = getattr(import_module(entry.module), entry.recipe)()
    return made
