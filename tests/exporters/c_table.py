"""C that calls the steps of several models in one form, for drivers that know none of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgernn.runtime.program import Program
from tests.exporters.c_host import write_all

HEADER = """#ifndef MODELS_H
#define MODELS_H

#include <stddef.h>
#include <stdint.h>

#define MODELS {models}
#define MOST_PORTS {ports}

/* inputs and outputs: the sizes of the arrays, in int16. */
typedef struct {{
    const char *name;
    size_t state_bytes;
    uint32_t tag;
    size_t input_count;
    size_t output_count;
    size_t inputs[MOST_PORTS];
    size_t outputs[MOST_PORTS];
    void (*reset)(void *state);
    int (*step)(void *state, int16_t *const *x, int16_t *const *y);
}} model_t;

/* One table for each family of kernels that is linked. */
const model_t *portable_models(void);
const model_t *native_models(void);

#endif
"""


def write_table(programs: Mapping[str, Program], folder: Path) -> list[Path]:
    """The models, the engine, and models.h and models.c in a folder; returns the sources.

    models.c is compiled with -DTABLE=portable_models or native_models.
    """
    sources = write_all(programs, folder)
    ports = max(len(p) for program in programs.values() for p in (program.inputs, program.outputs))
    lines = ['#include "models.h"', *(f'#include "{name}.h"' for name in programs)]
    entries = []
    for name, program in programs.items():
        count = len(program.inputs), len(program.outputs)
        x = [f"x[{i}]" for i in range(count[0])]
        y = [f"y[{i}]" for i in range(count[1])]
        sizes = [
            ", ".join(str(program.tensors[t].size) for t in names)
            for names in (program.inputs, program.outputs.values())
        ]
        lines += [
            f"static void reset_{name}(void *state) {{ {name}_reset(({name}_state_t *)state); }}",
            f"static int step_{name}(void *state, int16_t *const *x, int16_t *const *y)",
            "{",
            f"    return (int){name}_step(({name}_state_t *)state, {', '.join([*x, *y])});",
            "}",
        ]
        entries.append(
            f'    {{"{name}", sizeof({name}_state_t), {name.upper()}_STATE_TAG, {count[0]}, '
            f"{count[1]}, {{{sizes[0]}}}, {{{sizes[1]}}}, reset_{name}, step_{name}}}"
        )
    lines += ["static const model_t table[MODELS] = {", ",\n".join(entries), "};"]
    lines += ["const model_t *TABLE(void)", "{", "    return table;", "}"]
    (folder / "models.h").write_text(HEADER.format(models=len(programs), ports=ports))
    (folder / "models.c").write_text("\n".join(lines) + "\n")
    return [*sources, folder / "models.c"]
