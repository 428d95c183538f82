"""The command that trains a network as a configuration says."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Any

from edgernn.recipes.registry import RECIPES
from edgernn.training.base import Config, Recipe


def command_line(recipe: Recipe, config: Config, source: str | None, out: str) -> str:
    """`edgernn train ...` with every option that is not the recipe's default."""
    words = ["edgernn", "train", recipe.name]
    words += ["--demo"] if source is None else ["--data", source]
    defaults: dict[str, Any] = {o.name: o.default for o in RECIPES[recipe.name].options}
    given: dict[str, Any] = {n: v for n, v in config.options.items() if n in defaults}
    for own, chosen in ((recipe.layers, config.layers), (recipe.settings, config.settings)):
        for field in fields(own):
            defaults[field.name] = getattr(own, field.name)
            given[field.name] = getattr(chosen, field.name)
    for name, value in given.items():
        if value != defaults[name]:
            flag = name.replace("_", "-")
            if name == "stateful" and not value:
                words.append("--stateless")
            elif isinstance(value, bool):
                words.append(f"--{flag}")
            else:
                words += [f"--{flag}", str(value)]
    return shlex.join([*words, "--out", out])
