"""What an attribution comes to, in sentences."""

from __future__ import annotations

from typing import Final

from edgernn.attribution.measure import Attribution, Effect

MATTERS_DB: Final = 0.3
_LISTED: Final = 3


def advice(attribution: Attribution) -> list[str]:
    """One to three sentences: how far the outputs are from float, and what to keep finer."""
    if attribution.total_db is None:
        return ["On this data the integer program returns exactly what the float network does."]
    sentences = [f"Signal is {attribution.total_db:.1f} dB above error in the outputs."]
    groups = [e for e in attribution.groups if e.gain_db >= MATTERS_DB][:_LISTED]
    if not groups:
        first = attribution.groups[0]
        return [
            *sentences,
            f"No layer stands out: keeping {first.label} finer, which would bring most, would "
            f"bring {max(first.gain_db, 0.0):.1f} dB.",
        ]
    first, *others = groups
    text = f"Keeping {first.label} finer would bring {first.gain_db:.1f} dB"
    text += "".join(f"; {other.label}, {other.gain_db:.1f} dB" for other in others) + "."
    sentences.append(text)
    single = attribution.sources[0]
    if single.gain_db >= MATTERS_DB and single.label != first.label:
        sentences.append(
            f"The single place that matters most: {named(single)}, {single.gain_db:.1f} dB."
        )
    return sentences


def named(effect: Effect) -> str:
    """A source with its layer."""
    if effect.layer and effect.layer not in effect.label:
        return f"{effect.label} in {effect.layer}"
    return effect.label
