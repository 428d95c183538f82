"""The tables of a report, from its facts: what is shown, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgernn.report.charts import operator_label

Facts = dict[str, Any]
NONE: Final = "\N{EN DASH}"
"""Shown where there is no number."""


@dataclass(frozen=True)
class Cell:
    """text: as shown. value: of a number, "" for none. bad: to be pointed out."""

    text: str
    value: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Table:
    """numeric: which columns hold numbers. The first column names its row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[bool, ...]


def number(value: float | int | None, form: str = ",", unit: str = "", bad: bool = False) -> Cell:
    """A number, or a dash where there is none."""
    if value is None:
        return Cell(NONE, "")
    return Cell(f"{value:{form}}{unit}", repr(float(value)), bad)


def made(caption: str, header: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> Table:
    """A table; a column of numbers is one whose every cell has a value or a dash."""
    cells = tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)
    numeric = tuple(
        bool(cells) and all(row[i].value or row[i].text == NONE for row in cells)
        for i in range(len(header))
    )
    return Table(caption, tuple(header), cells, numeric)


def ports(model: Facts) -> Table:
    """Inputs, outputs and states."""
    rows = [
        (p["name"], kind, number(p["size"]), p["scale"], number(p["reach"], ".4g", ""))
        for kind, part in (("input", "inputs"), ("output", "outputs"), ("state", "states"))
        for p in model[part]
    ]
    return made("Inputs, outputs and states", ("name", "what", "size", "scale", "reaches ±"), rows)


def operators(cost: Facts) -> Table:
    """What each action of the step takes."""
    staged = max((o["stage"] for o in cost["operators"]), default=0) > 0
    header = ["computes", "layer", "how", "MACs", "flash", "weights", "code", "instructions"]
    rows = []
    for o in cost["operators"]:
        how = " ".join(o["operators"]) or o["kind"]
        row = [
            Cell(operator_label(o)),
            o["layer"] or NONE,
            how,
            number(o["macs"]),
            number(o["flash"]),
            number(o["weights"]),
            number(o["code"] + o["tables"]),
            number(o["instructions"]),
        ]
        rows.append([*row, number(o["stage"] or None)] if staged else row)
    if staged:
        header.append("stage")
    return made(f"Every action, on {cost['core']}", header, rows)


def cores(cost: Facts, windows: bool) -> Table:
    """What the model takes on each core."""
    rows = [
        (
            c["core"],
            number(c["flash"]),
            number(c["weights"]),
            number(c["code"] + c["tables"]),
            number(c["ram"]),
            number(c["instructions"]),
            number(c["macs"]),
            number(100 * c["instructions_error"], ".3g", " %"),
        )
        for c in cost["cores"]
    ]
    per = "window" if windows else "step"
    header = ("core", "flash", "weights", "code", "RAM", f"instructions a {per}", "MACs", "within")
    return made("The model on each core, bytes", header, rows)


def tensors(rows: Sequence[Facts]) -> Table:
    """Every tensor."""
    staged = max((t["stage"] for t in rows), default=0) > 0
    header = [
        "tensor",
        "layer",
        "size",
        "scale",
        "min",
        "max",
        "used",
        "at rails",
        "clipped",
        "SNR",
        "rms",
    ]
    listed = []
    for t in rows:
        row: list[Cell | str] = [
            t["name"],
            t["layer"] or NONE,
            number(t["size"]),
            t["scale"],
            number(t["low"], ".4g"),
            number(t["high"], ".4g"),
            number(100 * t["used"], ".1f", " %"),
            number(t["saturated"]),
            number(t["clipped"], ",", "", t["clipped"] > 0),
            number(t["snr_db"], ".1f", " dB"),
            number(t["rms"], ".3g"),
        ]
        listed.append([*row, number(t["stage"] + 1)] if staged else row)
    if staged:
        header.append("stage")
    return made("Every tensor, on the data", header, listed)


def effects(rows: Sequence[Facts], caption: str, targets: Sequence[str]) -> Table:
    """Sources or groups of them: what they bring, alone and left out, for every target."""
    header = ["source", "layer", "kind", "gain", "alone", "left out"]
    header += [f"{t}, alone" for t in targets] + [f"{t}, left out" for t in targets]
    listed = [
        [
            Cell(r["label"]),
            Cell(r["layer"] or NONE),
            Cell(r["group"]),
            number(round(r["gain_db"], 2) + 0.0, "+.2f", " dB"),
            number(r["only_db"], ".1f", " dB"),
            number(r["without_db"], ".1f", " dB"),
            *(number(r["only"].get(t), ".1f", " dB") for t in targets),
            *(number(r["without"].get(t), ".1f", " dB") for t in targets),
        ]
        for r in rows
    ]
    return made(caption, header, listed)


def growth(curves: Sequence[Facts], caption: str, label: str) -> Table:
    """A row for each bin, a column for each curve."""
    ends: Sequence[int] = max((c["ends"] for c in curves), key=len, default=())
    header = ["to step", *(c[label] for c in curves)]
    rows = []
    for i, end in enumerate(ends):
        rms = [c["rms"][i] if i < len(c["rms"]) else None for c in curves]
        rows.append([number(end), *(number(v, ".3g") for v in rms)])
    return made(caption, header, rows)


def classes(accuracy: Facts) -> Table:
    """Precision and recall of each class, float beside int8."""
    real, whole = accuracy["float"], accuracy["int8"]
    rows = [
        (
            number(i),
            number(real["support"][i]),
            *(
                number(None if share is None else 100 * share, ".1f", " %")
                for kind in ("precision", "recall")
                for share in (real[kind][i], whole[kind][i])
            ),
        )
        for i in range(accuracy["classes"])
    ]
    header = (
        "class", "labels", "precision, float", "precision, int8", "recall, float", "recall, int8",
    )  # fmt: skip
    return made("Precision and recall of each class", header, rows)


def engines(verification: Facts) -> Table:
    """What each engine was compared in."""
    rows = [
        (
            r["engine"],
            number(r["compared"] or None),
            number(r["differing"] if r["compared"] else None, ",", "", bool(r["differing"])),
            r["first"] or r["note"] or NONE,
        )
        for r in verification["rows"]
    ]
    header = ("engine", "values compared", "differing", "first difference, or note")
    return made("Engines against the NumPy engine", header, rows)


def budgets(rows: Sequence[Facts]) -> Table:
    """Every line of every target."""
    from edgernn.targets.units import format_bytes, format_seconds

    def shown(line: Facts | None, unit: Any) -> Cell:
        if line is None:
            return Cell(NONE)
        text = str(unit(line["value"]))
        if line["limit"] is not None:
            text += f" of {unit(line['limit'])}"
        return Cell(text, repr(float(line["value"])), line["over"] > 0)

    def bytes_of(value: float) -> str:
        return format_bytes(round(value))

    listed = []
    for row in rows:
        lines = row["lines"]
        energy = lines.get("energy")
        listed.append(
            (
                Cell(row["title"]),
                Cell(row["processor"]),
                Cell("yes" if row["fits"] else "no", "", not row["fits"]),
                shown(lines["flash"], bytes_of),
                shown(lines["ram"], bytes_of),
                number(lines["instructions"]["value"]),
                shown(lines.get("time"), format_seconds),
                number(_percent(lines.get("time") or lines["cycles"]), ".0f", " %"),
                number(None if energy is None else 1000 * energy["value"], ".3g", " µJ"),
            )
        )
    header = (
        "target", "processor", "fits", "flash", "RAM", "instructions", "time", "time ±", "energy",
    )  # fmt: skip
    return made("The model on each target", header, listed)


def _percent(line: Facts) -> float | None:
    return None if line["relative_error"] is None else 100 * line["relative_error"]


def files(rows: Sequence[Facts]) -> Table:
    """Every file with its checksum."""
    listed = [
        (f["name"], number(f["bytes"]), Cell(f["state"], "", f["state"] != "as exported"),
         f["sha256"])
        for f in rows
    ]  # fmt: skip
    return made("Files of the export", ("file", "bytes", "state", "SHA-256"), listed)
