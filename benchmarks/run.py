"""Run the suites, keep what they found, and write RESULTS.md and the pictures from it.

    python -m benchmarks.run [--data FOLDER] [--only QUESTION ...] [--rounds 15] [--out FOLDER]

One question after the other, each a pytest-benchmark suite. What is not run again (accuracy without
data, instructions without the cross compilers) stays as it was last measured, with its own date.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from benchmarks import budgets, pictures, report
from benchmarks.records import QUESTIONS, RESULTS, Record, load, result, save
from edgernn.runtime.errors import EdgernnError

HERE: Final = Path(__file__).parent
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_suite(question: str, options: Sequence[str]) -> tuple[list[Record], bool]:
    """The records of one suite, and whether all of it passed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "--no-header", "--benchmark-quiet"]
        command += ["-p", "no:cacheprovider", f"--benchmark-json={path}", *options]
        command += [str(HERE / f"test_{question}.py")]
        # Under pytest-xdist, as in our own test, it would take itself for a worker and not measure.
        own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
        environment = {**own, **dict.fromkeys(THREADS, "1")}
        done = subprocess.run(command, cwd=HERE.parent, env=environment)
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    benchmarks = json.loads(text)["benchmarks"] if text else []
    records = [record for b in benchmarks for record in b["extra_info"].get("records", [])]
    # Nothing collected is 5; all skipped is no failure.
    return records, done.returncode == 0


def render(results: Path, text: Path, drawings: Path) -> list[Path]:
    """Write RESULTS.md and the pictures from the raw results; returns what was written."""
    text.write_text(report.markdown(results), encoding="utf-8")
    return [text, *pictures.draw(results, drawings)]


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with real data sets, one .npz file each: includes the accuracy.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(QUESTIONS), help="A question; repeat it for more."
)
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True, help="Of the training.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put everything here instead of where the project keeps it.",
)
@click.option("--render-only", is_flag=True, help="Measure nothing; write text and pictures again.")
def main(
    data: Path | None,
    only: tuple[str, ...],
    rounds: int,
    seeds: str,
    out: Path | None,
    render_only: bool,
) -> None:
    """Measure, and write what was found."""
    results = RESULTS if out is None else out / "results"
    text = HERE / "RESULTS.md" if out is None else out / "RESULTS.md"
    drawings = HERE.parent / "docs" if out is None else out
    options = [f"--rounds={rounds}", f"--seeds={seeds}"]
    options += [] if data is None else [f"--data={data.resolve()}"]
    questions = () if render_only else only or QUESTIONS
    failed = []
    try:
        for i, question in enumerate(questions):
            click.echo(f"\n[{i + 1}/{len(questions)}] {question}", err=True)
            start = time.monotonic()
            records, passed = run_suite(question, options)
            took = time.monotonic() - start
            failed += [] if passed else [question]
            if passed and records:
                save(result(question, records, rounds=rounds), results)
                click.echo(f"{len(records)} records in {took:.0f} s", err=True)
            elif passed:
                kept = load(question, results)
                since = f"kept from {kept['date']}" if kept else "nothing there from before"
                click.echo(f"not measured; {since}", err=True)
        for path in render(results, text, drawings):
            click.echo(f"wrote {path}", err=True)
        for line in budgets.timing_lines(results):
            click.echo(line)
    except EdgernnError as error:
        raise click.ClickException(str(error)) from None
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; the old figures stay")


if __name__ == "__main__":
    main()
