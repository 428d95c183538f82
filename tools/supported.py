"""Write SUPPORTED.md: what edgernn takes and what it refuses, from the rules themselves.

    python tools/supported.py [--check]

A rule of the importer is one docstring, a refusal one sentence, an integer operator one class; a
network is one entry of `benchmarks.models`, whose bits a test compares on every engine.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "SUPPORTED.md"

HEAD = """# Supported

Written by `python tools/supported.py` from the rules, their docstrings and their error messages;
a test keeps it true. "exact" means: zero differing bits against the NumPy engine, closed loop.

"""
ENGINES = ("NumPy", "C", "LiteRT", "tflite-runtime 2.14", "ONNX Runtime")


def document() -> str:
    """The content of SUPPORTED.md."""
    parts = [
        HEAD,
        "## Networks\n\n",
        "`stream`: a step program, its state carried from call to call. `window`: whole windows, ",
        "with `StepRuntime.run`, `WindowRuntime` or the window form of each file.\n\n",
        _table(["network", "written as", "stream", "window", *ENGINES], _networks()),
        "\n## Cells\n\n",
        _table(["cell", "what it computes, and its source"], _cells()),
        "\n## Layers and functions of PyTorch\n\n",
        _table(["operator", "taken as"], _rules()),
        "\n## Refused\n\n",
        "Everything else is refused too, in one sentence that names the node, its source line and ",
        "the way out.\n\n",
        _table(["operator", "because it", "way out"], _refusals()),
        "\n## Integer operators\n\n",
        "What every engine executes; `edgernn.runtime.operators` and `functions` have the rules ",
        "in full.\n\n",
        _table(["operator", "rule"], _operators()),
    ]
    return "".join(parts)


def _networks() -> Iterator[list[str]]:
    import edgernn
    from benchmarks.family_tasks import task_of
    from benchmarks.models import ROWS
    from edgernn.runtime import Window

    warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
    tasks: dict[str, Any] = {}
    for row in ROWS.values():
        task = tasks.setdefault(row.reads, task_of(row.reads))
        model = row.build(task.sizes)
        model(*(v[:2] for v in task.train))
        arrays = [v[:8].numpy() for v in task.train if v.dim() > 1]
        program = edgernn.quantize(
            model.eval(),
            tuple(v[:2] for v in task.train),
            calibration=tuple(arrays) if len(arrays) > 1 else arrays[0],
        )
        stream = "no" if isinstance(program, Window) else "yes"
        yield [row.name, f"`{row.layer}`", stream, "yes", *(["exact"] * len(ENGINES))]
    # Not classifiers, and so with tests of their own.
    for name, layer, stream, window in (
        ("Hopfield, associative memory", "edgernn.nn.Hopfield", "iterate", "-"),
        ("generation, output fed back", "--feedback y:x", "yes", "-"),
        ("further activations", "gelu, silu, elu, leaky_relu, clamp, ...", "yes", "yes"),
    ):
        yield [name, f"`{layer}`", stream, window, *(["exact"] * len(ENGINES))]


def _cells() -> Iterator[list[str]]:
    from edgernn.cells import CELLS

    for kind, cell in CELLS.items():
        text = sys.modules[cell.step.__module__].__doc__ or ""
        yield [f"`{kind}`", _line(text)]


def _rules() -> Iterator[list[str]]:
    from edgernn.importer import trace  # noqa: F401  (registers the rules)
    from edgernn.importer.registry import RULES

    operators: dict[Any, list[str]] = {}
    for name, rule in RULES.items():
        operators.setdefault(rule, []).append(name)
    for rule, names in sorted(operators.items(), key=lambda item: item[1]):
        yield [", ".join(f"`{name}`" for name in names), _line(rule.__doc__ or "")]


def _refusals() -> Iterator[list[str]]:
    from edgernn.importer.refusals import CONTEXTS, LAYERS, OTHERWISE, REFUSALS, TOKENS
    from edgernn.importer.registry import Refusal

    names: dict[Refusal, list[str]] = {}
    for table in (REFUSALS, LAYERS, CONTEXTS):
        for operator, refusal in table.items():
            names.setdefault(refusal, []).append(f"`{operator}`")
    names[TOKENS] = ["integers that no embedding reads"]
    names[OTHERWISE] = ["any other"]
    for refusal, operators in names.items():
        layer = f"{refusal.layer}: " if refusal.layer else ""
        yield [layer + ", ".join(operators), refusal.reason, refusal.way_out]


def _operators() -> Iterator[list[str]]:
    from edgernn.runtime.operators import KINDS

    for kind, operator in KINDS.items():
        yield [f"`{kind}`", _line(type(operator).__doc__ or "")]


def _line(text: str) -> str:
    """The first paragraph as one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def main() -> None:
    """Write the file, or with --check exit with 1 if it is not what it should be."""
    sys.path.insert(0, str(ROOT))
    text = document()
    if "--check" in sys.argv:
        if not TARGET.is_file() or TARGET.read_text() != text:
            raise SystemExit("SUPPORTED.md is not up to date: run python tools/supported.py")
        return
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
