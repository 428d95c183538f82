"""Builds firmware: exported models, our start-up code, and a program that steps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn.runtime import Program
from firmware_tests.boards import Board
from firmware_tests.toolchain import ToolError, execute

SOURCES: Final = Path(__file__).parent / "firmware"
WARNINGS: Final = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")


@dataclass(frozen=True)
class Model:
    """An exported model: its C files by name, and the sizes of its inputs and outputs in order."""

    name: str
    sources: Mapping[str, bytes]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, program: Program, name: str, sources: Mapping[str, bytes]) -> Model:
        """The model that was exported from a program."""
        sizes = {tensor.name: tensor.size for tensor in program.tensors.values()}
        return cls(
            name,
            sources,
            tuple(sizes[n] for n in program.inputs),
            tuple(sizes[n] for n in program.outputs.values()),
        )

    def call(self, function: str, state: str, x: str, y: str) -> str:
        """A call of its step in C: one pointer per input and output into two arrays."""
        pointers = [state]
        for array, sizes in ((x, self.inputs), (y, self.outputs)):
            pointers += [f"({array}) + {sum(sizes[:i])}" for i in range(len(sizes))]
        return f"{function}({', '.join(pointers)})"


@dataclass(frozen=True)
class Image:
    """A linked firmware that steps any of its models; made by `build`.

    folder: holds harness.elf and the object files, whose linker maps are *.map.
    """

    board: Board
    models: tuple[Model, ...]
    folder: Path
    flags: tuple[str, ...]
    objects: tuple[str, ...]

    @property
    def elf(self) -> Path:
        return self.folder / "harness.elf"

    def index(self, name: str | None) -> int:
        """The place of a model; of the only one if no name is given."""
        names = [model.name for model in self.models]
        if name is None and len(names) == 1:
            return 0
        if name not in names:
            raise KeyError(f"this image has the models {names}, not {name}")
        return names.index(name)


def build(
    board: Board,
    models: Sequence[Model],
    folder: Path,
    optimize: str = "-O2",
    defines: Sequence[str] = (),
) -> Image:
    """Compile models, engine and harness for a board, in an empty or absent folder.

    defines: such as EDGERNN_PORTABLE. ToolError with the compiler's output if it says anything.
    """
    image = compiled(board, models, folder, optimize, defines)
    engine = "edgernn.o" in image.objects
    (folder / "models.h").write_text(_harness_header(models, engine), encoding="ascii")
    link(image, "harness", ("harness.c", "semihosting.c"), image.objects, "-DHARNESS")
    return image


def compiled(
    board: Board,
    models: Sequence[Model],
    folder: Path,
    optimize: str = "-O2",
    defines: Sequence[str] = (),
) -> Image:
    """The same without a harness: what `link` is to link with a main program."""
    folder.mkdir(parents=True, exist_ok=True)
    sources: dict[str, bytes] = {}
    for model in models:
        for path, content in model.sources.items():
            # An exported folder also has an example, and project files of build systems.
            if Path(path).suffix not in (".h", ".c", ".S") or path.startswith("example"):
                continue
            if sources.setdefault(path, content) != content:
                raise ToolError(f"two models bring different files {path}")
    for path, content in sources.items():
        (folder / path).write_bytes(content)
    flags = ("-std=c99", optimize, *board.compile_flags, *WARNINGS)
    flags += (*toolchain_flags(board), "-ffunction-sections", "-fdata-sections")
    flags += tuple(f"-D{define}" for define in defines)
    own = [path for path in sources if not path.endswith(".h")]
    execute([f"{board.toolchain.prefix}gcc", *flags, "-c", *own], folder)
    objects = tuple(f"{Path(path).stem}.o" for path in own)
    image = Image(board, tuple(models), folder, flags, objects)
    (folder / "memory.ld").write_text(memory_script(board), encoding="ascii")
    return image


def toolchain_flags(board: Board) -> tuple[str, ...]:
    """What the compiler of a board is always told."""
    specs = board.toolchain.specs
    return (*((f"--specs={specs}",) if specs else ()), *board.toolchain.flags)


def memory_script(board: Board) -> str:
    """memory.ld: where a board has its memory."""
    memory = "".join(
        f"  {name} : ORIGIN = {part.origin:#x}, LENGTH = {part.length:#x}\n"
        for name, part in (("FLASH", board.flash), ("RAM", board.ram))
    )
    return f"MEMORY\n{{\n{memory}}}\n"


def link(image: Image, name: str, main: Sequence[str], objects: Sequence[str], *extra: str) -> Path:
    """Compile parts of firmware/ and link them with objects to <name>.elf, with <name>.map."""
    board = image.board
    files = [*_fixed(image, extra), *(SOURCES / source for source in main)]
    options = ["-I", ".", "-I", str(SOURCES), "-L", ".", "-T", str(SOURCES / "sections.ld")]
    options += ["-nostartfiles", f"-Wl,--gc-sections,--fatal-warnings,-Map={name}.map"]
    command = [f"{board.toolchain.prefix}gcc", *image.flags, *extra, *options]
    command += [*(str(file) for file in files), *objects, "-o", f"{name}.elf"]
    execute(command, image.folder)
    return image.folder / f"{name}.elf"


def _fixed(image: Image, defines: Sequence[str]) -> list[Path]:
    """The objects that every firmware has, compiled once for an image."""
    harness = ["-DHARNESS"] * ("-DHARNESS" in defines)
    toolchain = image.board.toolchain
    objects = []
    for source in (toolchain.startup, *toolchain.own):
        target = image.folder / f"{Path(source).stem}{'_harness' * len(harness)}.o"
        if not target.exists():
            options = [*image.flags, *harness, "-c", str(SOURCES / source), "-o", str(target)]
            execute([f"{toolchain.prefix}gcc", *options], image.folder)
        objects.append(target)
    return objects


def minimal(image: Image, name: str | None = None) -> Path:
    """The smallest firmware that steps a model of an image, without the harness, and its map."""
    model = image.models[image.index(name)]
    header = [
        f'#include "{model.name}.h"',
        f"#define MODEL_STATE {model.name}_state_t",
        f"#define MODEL_RESET {model.name}_reset",
        f"#define MODEL_X {sum(model.inputs)}",
        f"#define MODEL_Y {sum(model.outputs)}",
        "#define MODEL_STEP(state, x, y) " + model.call(f"{model.name}_step", "state", "x", "y"),
    ]
    folder = image.folder / f"minimal_{model.name}"
    folder.mkdir(exist_ok=True)
    (folder / "models.h").write_text("\n".join(header) + "\n", encoding="ascii")
    # Its own header first: the image's lies in the same search path.
    return link(image, f"minimal_{model.name}", ("minimal.c",), image.objects, "-I", folder.name)


def empty(image: Image) -> Path:
    """The firmware that does nothing, and its map."""
    elf = image.folder / "empty.elf"
    return elf if elf.exists() else link(image, "empty", ("empty.c",), ())


def _harness_header(models: Sequence[Model], engine: bool) -> str:
    lines = [f'#include "{model.name}.h"' for model in models]
    for model in models:
        name = model.name
        # The engine's pointer types, whatever the step's; the same call of an empty function.
        types = [f"{name}_state_t *", *["const int16_t *"] * len(model.inputs)]
        types += ["int16_t *"] * len(model.outputs)
        lines += [
            f"extern edgernn_status_t empty_{name}({', '.join(types)})",
            '    __asm__("harness_nothing");',
            f"static void reset_{name}(void *state) {{ {name}_reset(({name}_state_t *)state); }}",
        ]
        for wrapper, function in (("step", f"{name}_step"), ("nothing", f"empty_{name}")):
            lines += [
                f"static int {wrapper}_{name}(void *state, const int16_t *x, int16_t *y)",
                "{",
                f"    return (int){model.call(function, f'({name}_state_t *)state', 'x', 'y')};",
                "}",
            ]
    entries = [f"X({m.name}, {sum(m.inputs)}, {sum(m.outputs)})" for m in models]
    lines += [
        f"#define MODELS(X) {' '.join(entries)}",
        f"#define KERNELS {'edgernn_kernels()' if engine else chr(34) * 2}",
    ]
    return "\n".join(lines) + "\n"
