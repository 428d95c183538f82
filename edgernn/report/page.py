"""The page of a report: its facts, charts and tables in one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from edgernn.budget.subject import Subject
from edgernn.drawing import drawing_of
from edgernn.pictures import DARK, LIGHT, variables
from edgernn.report import charts, tables
from edgernn.runtime.errors import MissingExtraError
from edgernn.svg import svg

Facts = dict[str, Any]
STREAM: Final = "step of one stream without a reset"
WINDOW: Final = "step of the window"
MOVES: Final = ("select", "split", "concat", "relu", "maximum")


def require_printable() -> None:
    """MissingExtraError without Jinja2 or matplotlib."""
    for module, name in (("jinja2", "Jinja2"), ("matplotlib", "matplotlib")):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            raise MissingExtraError(
                f"a report needs {name}; install it with: pip install 'edgernn[report]'"
            ) from None


def page(facts: Facts, subject: Subject) -> str:
    """The HTML. Every name in it comes from a file and is escaped.

    MissingExtraError without Jinja2 or matplotlib.
    """
    require_printable()
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    own = {name: _own(name) for name in ("page.html", "style.css", "script.js")}
    environment = Environment(
        loader=DictLoader({"page.html": own["page.html"]}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "thousands": lambda value: f"{value:,}",
        "percent": lambda value: f"{100 * value:.2f} %",
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}.",
    }
    script = own["script.js"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    drawn = svg(drawing_of(subject.program), f"The network of {facts['name']}", inline=True)
    shown = {key: Markup(value) for key, value in _charts(facts, subject).items()}
    whole = {"tensors": None, "attribution": None, "accuracy": None, "drop": None, **facts}
    return environment.get_template("page.html").render(
        f=whole,
        style=Markup(own["style.css"]),
        script=Markup(script),
        script_hash=Markup(f"sha256-{digest}"),
        light=Markup(variables(LIGHT)),
        dark=Markup(variables(DARK)),
        network=Markup(drawn),
        charts=shown,
        tables=_tables(facts),
        cards=cards(facts),
        sections=_sections(facts),
        origin=_origin(facts),
        saturation=_saturation(facts),
        budgets_told=_told(facts),
        engines_told=_engines(facts["verification"]),
        followed=next((c["target"] for c in _followed(facts)), ""),
        row_max=lambda row: max([*row, 1]),
    )


def _own(name: str) -> str:
    return (resources.files("edgernn.report") / "templates" / name).read_text("utf-8")


def _charts(facts: Facts, subject: Subject) -> dict[str, str]:
    cost = facts["cost"]
    shown = {
        "costs": charts.costs(cost["operators"], cost["core"]),
        "budgets": charts.budgets(facts["budgets"]),
    }
    if "attribution" in facts:
        growth, windows = facts["growth"], facts["model"]["kind"] == "window"
        shown |= {
            "tensors": charts.tensors(_rounded(facts["tensors"], subject)),
            "effects": charts.effects(
                facts["attribution"]["groups"], facts["attribution"]["total_db"]
            ),
        }
        if own := _followed(facts):
            shown["sources"] = charts.growth(
                own, "Error over time by source", "label", WINDOW if windows else STREAM
            )
        if growth["total"]:
            shown["total"] = charts.growth(growth["total"], "Error over time", "target", STREAM)
    return shown


def _followed(facts: Facts) -> list[Facts]:
    """The curves by source of one target: the first output, or, if that is there only once in a
    window, the largest state."""
    curves = facts["growth"]["sources"] if "growth" in facts else []
    several = [c for c in curves if len(c["ends"]) > 1]
    outputs = {o["name"] for o in facts["model"]["outputs"]}
    sizes = {f"state {s['name']}": s["size"] for s in facts["model"]["states"]}
    named = [c["target"] for c in several]
    largest = max(named, key=lambda n: sizes.get(n, 0), default="")
    chosen = next((n for n in named if n in outputs), largest)
    return [c for c in several if c["target"] == chosen]


def _rounded(rows: Sequence[Facts], subject: Subject) -> list[Facts]:
    """Without what only passes on what another tensor holds; of very many the most used."""
    program = subject.program
    stages = [s.program for s in program.stages] if hasattr(program, "stages") else [program]
    moved = {
        (i, name)
        for i, stage in enumerate(stages)
        for op in stage.operators
        if op.kind in MOVES
        for name in op.outputs
    }
    moved |= {(i, s.input) for i, stage in enumerate(stages) for s in stage.states}
    moved |= {(i, name) for i, stage in enumerate(stages) if i for name in stage.inputs}
    kept = [row for row in rows if (row["stage"], row["name"]) not in moved]
    if len(kept) <= charts.MOST:
        return kept
    most = sorted(kept, key=lambda r: (-r["clipped"], -r["used"]))[: charts.MOST]
    return [row for row in kept if row in most]


def _tables(facts: Facts) -> dict[str, tables.Table]:
    windows = facts["model"]["kind"] == "window"
    found = {
        "ports": tables.ports(facts["model"]),
        "operators": tables.operators(facts["cost"]),
        "cores": tables.cores(facts["cost"], windows),
        "budgets": tables.budgets(facts["budgets"]),
        "engines": tables.engines(facts["verification"]),
        "files": tables.files(facts["files"]),
    }
    if "attribution" in facts:
        result, growth = facts["attribution"], facts["growth"]
        targets, own = list(result["total"]), _followed(facts)
        name = own[0]["target"] if own else ""
        found |= {
            "tensors": tables.tensors(facts["tensors"]),
            "groups": tables.effects(result["groups"], "Groups of places", targets),
            "sources": tables.effects(result["sources"], "Every place that rounds", targets),
            "growth": tables.growth(own, f"Root mean square error of {name} by source", "label"),
            "total": tables.growth(growth["total"], "Root mean square error", "target"),
        }
    if facts.get("accuracy"):
        found["classes"] = tables.classes(facts["accuracy"])
    return found


def cards(facts: Facts) -> list[Facts]:
    """The numbers that are asked for first."""
    cost = next(c for c in facts["cost"]["cores"] if c["name"] == facts["cost"]["core"])
    per = "window" if facts["model"]["kind"] == "window" else "step"
    rows = facts["verification"]["rows"]
    compared, differing = (sum(r[k] for r in rows) for k in ("compared", "differing"))
    fits = [row["title"] for row in facts["budgets"] if row["fits"]]
    found: list[Facts] = [
        {"title": "flash", "text": f"{cost['flash']:,} B", "note": cost["core"]},
        {"title": "RAM", "text": f"{cost['ram']:,} B", "note": cost["core"]},
        {
            "title": f"instructions a {per}",
            "text": f"{cost['instructions']:,}",
            "note": f"{cost['core']}; {cost['macs']:,} MACs",
        },
    ]
    if facts.get("accuracy"):
        own = facts["accuracy"]
        found.append(
            {
                "title": "accuracy, int8",
                "text": f"{100 * own['int8']['accuracy']:.2f} %",
                "note": f"float {100 * own['float']['accuracy']:.2f} %",
            }
        )
    if "attribution" in facts:
        total = facts["attribution"]["total_db"]
        found.append(
            {
                "title": "signal above error",
                "text": "exact" if total is None else f"{total:.1f} dB",
                "note": "all outputs, against float",
            }
        )
    found.append(
        {
            "title": "differing values",
            "text": f"{differing:,}" if compared else "not compared",
            "note": f"of {compared:,}, all engines" if compared else "",
            "bad": bool(differing),
        }
    )
    found.append(
        {
            "title": "fits",
            "text": f"{len(fits)} of {len(facts['budgets'])}",
            "note": "targets below",
            "bad": len(fits) < len(facts["budgets"]),
        }
    )
    return [{"note": "", "bad": False, **card} for card in found]


def _sections(facts: Facts) -> list[tuple[str, str]]:
    found = [("summary", "Summary"), ("network", "Network"), ("cost", "Cost")]
    found.append(("budgets", "Targets"))
    if "attribution" in facts:
        found += [("ranges", "Ranges"), ("error", "Error")]
    if facts.get("accuracy"):
        found.append(("accuracy", "Accuracy"))
    return [*found, ("engines", "Engines"), ("origin", "Origin")]


def _origin(facts: Facts) -> list[tuple[str, str]]:
    own, calibration = facts["origin"], facts["model"]["calibration"]
    listed = [
        ("exported", f"{own['exported']} by {own['exported_by']}"),
        ("calibration", ", ".join(f"{k} {v}" for k, v in calibration.items()) or "not recorded"),
        ("options", ", ".join(f"{k} {v}" for k, v in own["options"].items()) or "not recorded"),
    ]
    heads = facts["model"]["heads"]
    if heads:
        listed.append(("left out", ", ".join(f"{v} after {k}" for k, v in heads.items())))
    return [
        *listed,
        ("report made on", f"{own['machine']}; {own['processor']}"),
        ("with", f"{own['reported_by']}, Python {own['python']}, NumPy {own['numpy']}"),
    ]


def _saturation(facts: Facts) -> str:
    hit = [t for t in facts.get("tensors") or () if t["clipped"]]
    if not hit:
        return "No value is clipped: none lies beyond int16 in the float network."
    worst = max(hit, key=lambda t: t["clipped"] / t["count"])
    share = 100 * worst["clipped"] / worst["count"]
    told = "One tensor clips" if len(hit) == 1 else f"{len(hit)} tensors clip"
    return f"{told} values, {worst['name']} most of all: {share:.3g} % of its own."


def _told(facts: Facts) -> str:
    if facts["budget_file"]:
        return f"the limits of {facts['budget_file']}"
    return "all the flash and RAM that each of them has"


def _engines(verification: Facts) -> str:
    rows = [r for r in verification["rows"] if r["compared"]]
    if not rows:
        return f"No engine was compared: {verification['source']}."
    differing = sum(r["differing"] for r in rows)
    told = f"{verification['steps']:,} steps, {verification['how']}; {verification['source']}."
    if differing:
        return f"{differing:,} values differ. {told}"
    return f"Every engine that was compared gives the same bits. {told}"
