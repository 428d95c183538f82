"""The accuracy of int8 in RESULTS.md: real sets, strategies of rounding, the whole family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.records import Record, Result
from benchmarks.text import Lines, grid

BOLD_POINTS = 0.2


def accuracy(part: Result | None) -> Lines:
    """A row a set: mean over the trained networks, the worst in brackets."""
    assert part is not None
    records = part["records"]
    rows = []
    for name in dict.fromkeys(r["data"] for r in records):
        chosen = [r for r in records if r["data"] == name]
        first = chosen[0]
        rows.append(
            [
                name,
                str(first["model"]).removesuffix(" + Linear"),
                f"{first['metric']}, cycles" if first["metric"] == "RMSE" else first["metric"],
                f"{_mean(chosen, 'floating'):.3f}",
                f"{_mean(chosen, 'int8'):.3f}",
                _difference(chosen),
                f"{_mean(chosen, 'agreement'):.2f} ({min(r['agreement'] for r in chosen):.2f})",
                f"{_mean(chosen, 'snr_db'):.1f} ({min(r['snr_db'] for r in chosen):.1f})",
                first["n"],
            ]
        )
    count = len({r["seed"] for r in records})
    correlations: dict[str, float] = {}
    for r in records:
        if r["correlation"] is not None:
            correlations[r["data"]] = min(r["correlation"], correlations.get(r["data"], 1.0))
    lowest = ", ".join(f"{v:.6f} ({k})" for k, v in correlations.items())
    said = f"Lowest correlation of int8 with float, of the regressions: {lowest}."
    header = ["data", "model", "metric", "float", "int8", "difference"]
    header += ["agreement %", "SNR dB", "n"]
    networks = f"Mean of {count} trained networks, the worst in brackets."
    return [
        networks if count > 1 else "One trained network.",
        "",
        *grid(header, rows, left=3),
        *(["", said] if correlations else []),
    ]


def rounding(part: Result | None) -> Lines:
    """A row a strategy, over all sets and seeds."""
    assert part is not None
    rows = []
    for name in dict.fromkeys(r["rounding"] for r in part["records"]):
        chosen = [r for r in part["records"] if r["rounding"] == name]
        points = [r["difference"] for r in chosen if r["metric"] == "accuracy %"]
        percent = [r["difference"] for r in chosen if r["metric"] != "accuracy %"]
        rows.append(
            [
                f"{name} (default)" if name == "compensated" else name,
                f"{_mean(chosen, 'agreement'):.2f}",
                f"{min(r['agreement'] for r in chosen):.2f}",
                f"{_mean(chosen, 'snr_db'):.1f}",
                f"{max(points, key=abs):+.2f} points, {max(percent, key=abs):+.2f} %",
            ]
        )
    networks = len({(r["data"], r["seed"]) for r in part["records"]})
    header = ["rounding", "agreement %, mean", "agreement %, worst", "SNR dB, mean"]
    return [
        f"{networks} networks, calibration `minmax`.",
        "",
        *grid([*header, "largest change of the metric"], rows),
    ]


def family(part: Result | None) -> Lines:
    """A row for each network and set, and the bits of all engines."""
    assert part is not None
    rows = []
    for r in part["records"]:
        difference = f"{r['int8'] - r['floating']:+.2f}"
        # Rounded as it is shown, or 0.2 of 500 would be more than 0.2.
        if abs(round(r["int8"] - r["floating"], 2)) > BOLD_POINTS:
            difference = f"**{difference}**"
        both = "" if r["auroc"] is None else "{:.2f}, {:.2f}".format(*r["auroc"])
        figures = [f"{r['floating']:.2f}", f"{r['int8']:.2f}", difference, both]
        figures += [f"{r['agreement']:.2f}", f"{r['snr_db']:.1f}", r["n"]]
        rows.append([r["data"], r["name"], r["form"], *figures])
    header = ["data", "network", "form", "float %", "int8 %", "difference, points"]
    bits = part["bits"]
    return [
        f"**Bits: {bits['differing']:,} of {bits['compared']:,} values differ**, {part['steps']:,} "
        "steps of each row on each engine",
        "(operators one by one, LiteRT, ONNX Runtime, C with portable and with vector kernels).",
        f"Float ONNX: at most {bits['float_onnx']:.1e} from PyTorch on all test sequences,",
        "relative to the largest output.",
        "",
        *grid([*header, "AUROC %, float, int8", "agreement %", "SNR dB", "n"], rows, left=3),
    ]


def _mean(records: Sequence[Record], name: str) -> float:
    return float(np.mean([r[name] for r in records]))


def _difference(records: Sequence[Record]) -> str:
    differences: list[Any] = [r["difference"] for r in records]
    points = records[0]["metric"] == "accuracy %"
    worst = min(differences) if points else max(differences)
    return f"{np.mean(differences):+.2f} {'points' if points else '%'} ({worst:+.2f})"
