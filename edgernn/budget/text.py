"""Verdicts and advice as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context
from typing import Final

from edgernn.budget.advice import LONGEST, Advice
from edgernn.budget.check import Line, Verdict
from edgernn.budget.subject import Subject
from edgernn.console import table
from edgernn.targets import Device
from edgernn.targets.units import format_bytes, format_hertz, format_seconds

BAR: Final = 20
NAMES: Final = {
    "flash": "flash",
    "ram": "RAM",
    "macs": "MACs",
    "instructions": "instructions",
    "cycles": "cycles",
    "time": "time",
    "load": "load",
    "energy": "energy",
    "power": "power",
    "accuracy_drop": "accuracy drop",
}
_PREFIXES: Final = (("", 1000.0), ("m", 1.0), ("u", 1e-3), ("n", 1e-6))
"""Of joules and watts, in the thousandths that lines have."""
_PER_RUN: Final = ("macs", "instructions", "cycles", "time", "energy")


def title(subject: Subject) -> str:
    """What is judged."""
    network = subject.program.metadata.get("network", [])
    kinds = " -> ".join(str(node.get("kind", "?")) for node in network if isinstance(node, dict))
    how = f"windows of {subject.steps} steps" if subject.is_window else "a stream, step by step"
    return f"{subject.name}: {kinds or 'a program'}, {how}"


def amount(name: str, value: float) -> str:
    """A value with its unit: 65,536 B, 2 ms, 12.3 %."""
    if name in ("flash", "ram"):
        return f"{value:,.0f} B"
    if name == "time":
        return format_seconds(value)
    if name == "load":
        return f"{value:,.0f} %" if value >= 100 else f"{value:.3g} %"
    if name in ("energy", "power"):
        unit = "J" if name == "energy" else "W"
        prefix, factor = next((p for p in _PREFIXES if value >= p[1]), _PREFIXES[-1])
        return f"{value / factor:.3g} {prefix}{unit}"
    if name == "accuracy_drop":
        return f"{value:.4g} points"
    return f"{value:,.0f}"


def estimated(line: Line) -> str:
    """The estimate of a line. A time is rounded up: what is read here holds as a limit."""
    value = line.value
    if line.name == "time":
        value = float(Context(prec=4, rounding=ROUND_CEILING).create_decimal(repr(value)))
    return amount(line.name, value)


def percent(share: float) -> str:
    """0.381 -> 38 %; what is not exactly 100 % is not shown as that, a gain is 0 %."""
    if share == float("inf"):
        return "over"
    if 0 < share < 0.005:
        return "< 1 %"
    text = f"{100 * max(0.0, share):.0f} %"
    return f"{100 * share:.2f} %" if text == "100 %" and share != 1 else text


def bar(share: float) -> str:
    """[######--------------], with a + behind it if it is over."""
    filled = int(BAR * min(1.0, max(0.0, share)))
    return f"[{'#' * filled}{'-' * (BAR - filled)}]{'+' if share > 1 else ''}"


def verdict_table(verdict: Verdict, is_window: bool) -> str:
    """Every quantity of a target."""
    unit = "window" if is_window else "step"
    rows = []
    for line in verdict.lines:
        name = NAMES[line.name] + (f" / {unit}" if line.name in _PER_RUN else "")
        error = "" if not line.error else f"+-{100 * line.error:.1f} %"
        row = [name, estimated(line), error]
        if line.limit is None or line.used is None:
            rows.append([*row, "", "", "", ""])
            continue
        limit = amount(line.name, line.limit)
        rows.append([*row, limit, percent(line.used), bar(line.used), rest(line)])
    header = ["", "estimate", "error", "limit", "used", "", "left or over"]
    return aligned(header, rows, right=(1, 2, 3, 4, 6))


def rest(line: Line) -> str:
    """What is left, or by how much it is over."""
    assert line.limit is not None
    if line.over > 0:
        return f"{amount(line.name, line.over)} over"
    return f"{amount(line.name, line.limit - line.value)} left"


def parts(verdict: Verdict) -> str:
    """What flash and RAM consist of."""
    c = verdict.cost
    buffer = f", {c.buffer:,} buffer of the window" if c.buffer else ""
    if verdict.budget.device.runs_from_ram:
        buffer += f", {c.flash:,} program, copied there"
    return (
        f"flash  {c.weights:,} weights and constants, {c.tables:,} tables, {c.code:,} code\n"
        f"RAM    {c.state:,} state, {c.stack:,} stack, {c.ports:,} inputs and outputs{buffer}"
    )


def device_line(verdict: Verdict) -> str:
    """nRF52840 DK (nrf52840-dk): Cortex-M4 at 64 MHz, 1 MiB flash, 256 KiB RAM."""
    device, budget = verdict.budget.device, verdict.budget
    facts = [device.processor]
    if budget.clock_hz is not None:
        facts[0] += f" at {format_hertz(budget.clock_hz)}"
    for name, size in (("flash", device.flash_bytes), ("RAM", device.ram_bytes)):
        if size is not None:
            facts.append(f"{format_bytes(size)} {name}")
    return f"{device.title} ({device.name}): {', '.join(facts)}"


def remarks(verdict: Verdict) -> list[str]:
    """What the numbers do not say by themselves."""
    device = verdict.budget.device
    found = [note for note in (device.counts_note, device.notes) if note]
    if not verdict.cost.measured:
        found.append(
            "Some loops of this model are unlike those that were measured: they are added up from "
            "their operators, and the errors are those of such models."
        )
    return found


def conclusion(verdict: Verdict) -> str:
    """It fits, or what is over by how much."""
    if verdict.fits:
        limited = [line for line in verdict.lines if line.limit is not None]
        near = [line for line in limited if line.may_be_over]
        if near:
            names = " and ".join(NAMES[line.name] for line in near)
            return f"It fits by its estimate; {names} may be over within the error."
        return "It fits." if limited else "There is no limit to hold it against."
    over = [f"{NAMES[line.name]} is {amount(line.name, line.over)} over" for line in verdict.over]
    return f"It does not fit: {'; '.join(over)}."


def summary(verdicts: Sequence[Verdict]) -> str:
    """One row for each target."""
    rows = []
    for verdict in verdicts:
        lines = {line.name: line for line in verdict.lines}
        row = [verdict.budget.device.name]
        for name in ("flash", "ram", "instructions", "cycles", "time", "load"):
            line = lines.get(name)
            text = "" if line is None else estimated(line)
            if line is not None and line.used is not None:
                text += f" ({percent(line.used)})"
            row.append(text)
        if any(line.limit is not None for line in verdict.lines):
            over = ", ".join(f"{NAMES[v.name]} {rest(v)}" for v in verdict.over)
            row.append(over or "fits")
        else:
            row.append("")
        rows.append(row)
    header = ["target", "flash", "RAM", "instructions", "cycles", "time", "load", ""]
    used = [i for i in range(len(header)) if i == 0 or any(row[i] for row in rows)]
    return aligned(
        [header[i] for i in used],
        [[row[i] for i in used] for row in rows],
        right=range(1, len(used) - (header[used[-1]] == "")),
    )


def advice_text(advice: Advice, verdict: Verdict) -> str:
    """What would help, or how far the model may grow."""
    text = ["What would help" if not verdict.fits else "How far it may grow, and what saves"]
    if advice.layers:
        rows = [
            [
                layer.name, layer.what, f"{layer.size:,}", _fits(layer.fits, layer.reaches_limit),
                _saved(layer.flash, " B"), _saved(layer.ram, " B"), _saved(layer.instructions),
            ]
            for layer in advice.layers
        ]  # fmt: skip
        header = ["layer", "", "now", "largest that fits", "flash", "RAM", "instructions"]
        text.append(aligned(header, rows, right=(2, 3, 4, 5, 6)))
        text.append("each layer alone; flash, RAM and instructions saved for each one less")
        text += _first_to_shrink(advice, verdict)
    if len(advice.together) > 1:
        sizes = ", ".join(f"{name} {size:,}" for name, size in advice.together.items())
        text.append(f"All recurrent layers together fit at: {sizes}.")
    text += [f"{_capital(sentence)}." for sentence in advice.blocked]
    if advice.swaps:
        rows = [
            [s.name, f"{s.flash:,} B", f"{s.ram:,} B", f"{s.instructions:,}",
             "fits" if s.fits else "over"]
            for s in advice.swaps
        ]  # fmt: skip
        text.append(
            "Another cell of the same hidden size, trained anew; its accuracy is not known, and "
            "its ranges may change the flash a little:\n"
            + aligned(["cell", "flash", "RAM", "instructions", ""], rows, right=(1, 2, 3))
        )
    if advice.window is not None:
        longest = f"up to {advice.window:,} steps fit" if advice.window else "no length fit"
        if advice.window >= LONGEST:
            longest = f"{advice.window:,} steps or more fit"
        text.append(
            f"By RAM and time, windows of {longest}; each step less saves "
            f"{advice.window_step_bytes:,} bytes of RAM."
        )
    if advice.int8_state_bytes:
        text.append(
            f"States of int8 would take {advice.int8_state_bytes:,} bytes of RAM less; edgernn "
            "keeps int16, which long streams need."
        )
    text += [f"{_capital(note)}." for note in advice.notes]
    return "\n".join(text)


def _first_to_shrink(advice: Advice, verdict: Verdict) -> list[str]:
    """For each thing that is over, the layer a unit of which saves most of it."""
    found = []
    for line in verdict.over:
        part = line.name if line.name in ("flash", "ram") else "instructions"
        if len(advice.layers) < 2 or line.name == "accuracy_drop":
            continue
        ranked = sorted(advice.layers, key=lambda layer: -(getattr(layer, part) or 0.0))
        best, second = (getattr(layer, part) or 0.0 for layer in ranked[:2])
        if best > max(second, 0.0):
            unit = "one of its " + ranked[0].what
            found.append(f"Of {NAMES[line.name]}, {unit} saves most in {ranked[0].name}.")
    return found


def targets_table(devices: Sequence[Device]) -> str:
    """What `--targets` lists."""
    rows = [
        [
            d.name,
            d.title,
            d.processor,
            "" if d.clock_hz is None else format_hertz(d.clock_hz),
            "" if d.flash_bytes is None else format_bytes(d.flash_bytes),
            "" if d.ram_bytes is None else format_bytes(d.ram_bytes),
            f"{d.cycles_per_instruction:.2f} +-{100 * d.cycles_error:.0f} %",
            "" if d.milliwatts_per_megahertz is None else f"{d.milliwatts_per_megahertz:.3g}",
        ]
        for d in devices
    ]
    header = ["target", "", "core", "clock", "flash", "RAM", "cycles / instruction", "mW / MHz"]
    return aligned(header, rows, right=(3, 4, 5, 6, 7))


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """A table whose columns `right` are aligned right, all of them text."""
    cells = [list(header), *(list(row) for row in rows)]
    for i in right:
        width = max(len(row[i]) for row in cells)
        for row in cells:
            row[i] = row[i].rjust(width)
    return table(cells[0], cells[1:])


def _fits(size: int | None, reaches_limit: bool) -> str:
    if size is None:
        return ""
    if not size:
        return "none"
    return f"{size:,} or more" if reaches_limit else f"{size:,}"


def _saved(amount: float | None, unit: str = "") -> str:
    return "" if amount is None else f"{amount:,.1f}{unit}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
