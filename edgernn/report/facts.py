"""Everything that a report says, as plain data: what `--json` prints and the page is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from edgernn.attribution.growth import SOURCE_STEPS, STEPS, source_growth, total_growth
from edgernn.attribution.meaning import Meaning, meanings_of
from edgernn.attribution.measure import attribute
from edgernn.attribution.tensors import statistics
from edgernn.attribution.words import advice
from edgernn.budget.accuracy import Drop, both_outputs, drop_of
from edgernn.budget.labelled import load_labelled
from edgernn.budget.settings import Settings, load_settings
from edgernn.budget.subject import Subject, load_subject
from edgernn.drawing import drawing_of, text
from edgernn.graph import FloatArray
from edgernn.progress import Progress
from edgernn.report import accuracy, costs, folder
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

FOLLOWED: Final = 6
"""Groups of sources whose error is followed over time: those that matter most."""
CLIPPED: Final = 0.001
"""The share of an input's values from which on that they are clipped is pointed out."""
Facts = dict[str, Any]
Bars = Callable[[str], AbstractContextManager[Progress | None]]


@dataclass(frozen=True)
class Wishes:
    """What a report is asked for. data: as `edgernn.arrays` takes it, "" for the folder's sample;
    labels: key of the labels in it. targets: names of devices. boards: files with devices of
    one's own. budgets: a file of budgets. steps: of the stream without a reset."""

    data: str = ""
    labels: str = ""
    targets: tuple[str, ...] = ()
    boards: tuple[Path, ...] = ()
    budgets: Path | None = None
    steps: int = STEPS


def _no_bar(_: str) -> AbstractContextManager[Progress | None]:
    return nullcontext()


def collect(path: Path, wishes: Wishes, bars: Bars = _no_bar) -> tuple[Facts, Subject]:
    """Measure everything. bars: label -> context of a progress bar.

    FileFormatError for a folder that is not sound, InputError for data, labels or targets that do
    not fit.
    """
    report = folder.read_report(path)
    listed = folder.files(path, report)
    settings = load_settings(wishes.budgets) if wishes.budgets else None
    subject = load_subject(path, settings.window if settings else None)
    asked = costs.wanted(wishes.targets, settings, wishes.boards)
    facts: Facts = {
        "name": path.resolve().name,
        "model": _model(subject),
        "origin": folder.origin(path, report),
        "files": listed,
        "network": text(drawing_of(subject.program)),
        "notes": [],
    }
    sequences, labels, source = _data(subject, wishes, settings)
    facts["data"] = {
        "source": source,
        "sequences": len(sequences),
        "steps": sum(len(next(iter(s.values()))) for s in sequences),
    }
    meanings: Sequence[Meaning] | None = None
    if subject.float_model is None:
        facts["notes"].append(f"The error against float is not known: {subject.no_float}.")
    else:
        meanings = meanings_of(subject.program, subject.float_model)
    core = asked[0].device.core if wishes.targets else costs.CORE
    facts["cost"] = {
        "core": core,
        "cores": costs.cores(subject),
        "operators": costs.operators(subject, meanings, core),
        "steps": subject.steps,
    }
    # What may be refused comes before what takes long.
    drop = _accuracy(facts, subject, sequences, labels, source)
    facts["budgets"] = costs.budgets(subject, asked, drop)
    facts["budget_file"] = wishes.budgets.name if wishes.budgets else ""
    if sequences and meanings is not None:
        facts |= _measured(subject, meanings, sequences, wishes.steps, bars)
        facts["notes"] += _beyond(facts)
    elif not sequences:
        facts["notes"].append(
            "There is no data to measure on: give some with --data, or quantize the model again."
        )
    with bars("verifying") as progress:
        facts["verification"] = folder.verification(path, report, listed, progress)
    return facts, subject


def _model(subject: Subject) -> Facts:
    program = subject.program
    tensors = (
        {t.name: t for t in program.inputs} if isinstance(program, Window) else program.tensors
    )
    inside = program.tensors() if isinstance(program, Window) else program.tensors
    stages = [s.program for s in program.stages] if isinstance(program, Window) else [program]
    values: Mapping[str, str] = (
        {name: source.value for name, source in program.outputs.items()}
        if isinstance(program, Window)
        else program.outputs
    )
    names = [t.name for t in program.inputs] if isinstance(program, Window) else program.inputs
    return {
        "kind": "window" if isinstance(program, Window) else "stream",
        "steps": subject.steps,
        "weights": program.weight_count,
        "weight_rows": program.row_count,
        "operators": sum(len(stage.operators) for stage in stages),
        "stages": len(stages),
        "state_bytes": 2 * sum(len(s.initial) for stage in stages for s in stage.states),
        "inputs": [_port(n, tensors[n]) for n in names],
        "outputs": [_port(n, inside[value]) for n, value in values.items()],
        "states": [_port(s.name, st.tensors[s.input]) for st in stages for s in st.states],
        "calibration": {str(k): v for k, v in _mapping(program, "calibration").items()},
        "heads": {str(k): str(v) for k, v in _mapping(program, "heads").items()},
    }


def _mapping(program: Program | Window, name: str) -> Mapping[str, Any]:
    value = program.metadata.get(name)
    return value if isinstance(value, Mapping) else {}


def _port(name: str, tensor: Any) -> Facts:
    reach = 32767 * float(tensor.scale)
    return {"name": name, "size": tensor.size, "scale": str(tensor.scale), "reach": reach}


def _data(
    subject: Subject, wishes: Wishes, settings: Settings | None
) -> tuple[list[dict[str, FloatArray]], list[NDArray[Any]] | None, str]:
    spec, key = wishes.data, wishes.labels
    if settings is not None:
        spec, key = spec or settings.data, key or settings.labels
    if key and not spec:
        raise InputError("--labels names an array of the file of --data; give that too")
    if spec:
        sequences, labels = load_labelled(spec, key, subject.program, subject.graph)
        return sequences, labels, Path(spec).name
    return subject.sample, None, "the folder's sample of the calibration data"


def _measured(
    subject: Subject,
    meanings: Sequence[Meaning],
    sequences: Sequence[Mapping[str, FloatArray]],
    steps: int,
    bars: Bars,
) -> Facts:
    program, model = subject.program, subject.float_model
    assert model is not None
    with bars("ranges") as progress:
        tensors = statistics(program, meanings, sequences, progress)
    with bars("sources of error") as progress:
        found = attribute(program, meanings, sequences, progress)
    followed = [effect.label for effect in found.groups[:FOLLOWED]]
    with bars("sources over time") as progress:
        by_source = source_growth(
            program, meanings, sequences, followed, min(steps, SOURCE_STEPS), progress
        )
    total = []
    if isinstance(program, Program):
        with bars(f"{steps:,} steps") as progress:
            total = total_growth(program, model.graph, sequences, steps, progress)
    return {
        "tensors": [asdict(t) for t in tensors],
        "attribution": asdict(found) | {"advice": advice(found)},
        "growth": {
            "total": [asdict(c) for c in total],
            "sources": [asdict(c) for c in by_source],
        },
    }


def _beyond(facts: Facts) -> list[str]:
    """Inputs whose data are larger than what calibration saw; no finer rounding would help them."""
    reaches = {port["name"]: port["reach"] for port in facts["model"]["inputs"]}
    found = []
    for tensor in facts["tensors"]:
        share = tensor["clipped"] / tensor["count"]
        if tensor["stage"] == 0 and tensor["name"] in reaches and share >= CLIPPED:
            found.append(
                f"{100 * share:.3g} % of the values of {tensor['name']} lie beyond "
                f"±{reaches[tensor['name']]:.4g}, the most that the program reads: quantize again "
                "with such data for calibration."
            )
    return found


def _accuracy(
    facts: Facts,
    subject: Subject,
    sequences: list[dict[str, FloatArray]],
    labels: list[NDArray[Any]] | None,
    source: str,
) -> Drop | None:
    graph = subject.graph
    if graph is None or not sequences:
        return None
    outputs = both_outputs(subject, graph, sequences)
    drop = drop_of(graph, outputs, labels, source)
    facts["drop"] = drop.as_json()
    if labels is not None:
        facts["accuracy"] = accuracy.classification(graph, outputs, labels)
    return drop
