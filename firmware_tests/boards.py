"""The boards: what QEMU calls them, how to compile for them, and where their memory is.

A new board is one more entry of BOARDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Memory:
    """A range of addresses; both in bytes."""

    origin: int
    length: int


@dataclass(frozen=True)
class Toolchain:
    """A cross compiler and the emulator that goes with it.

    startup: what runs before main, in firmware/. specs: of the C library, which is there for
    string.h alone; "" if there is none for firmware: then own says what stands for it.
    flags: for compiler and linker.
    """

    prefix: str
    specs: str
    emulator: str
    startup: str
    own: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Board:
    """A board of QEMU's.

    clock: ticks per second of virtual time of what firmware/clock.h reads; None if that counts
    instructions. vectors: whether the step may use vector registers, which are those of floats.
    kernels: the family of the engine's that a build without options has.
    """

    name: str
    core: str
    toolchain: Toolchain
    compile_flags: tuple[str, ...]
    machine: tuple[str, ...]
    flash: Memory
    ram: Memory
    clock: float | None
    vectors: bool = False
    kernels: str = "portable"


ARM: Final = Toolchain("arm-none-eabi-", "nano.specs", "qemu-system-arm", "startup_arm.c")
RISCV: Final = Toolchain(
    "riscv64-unknown-elf-", "picolibc.specs", "qemu-system-riscv32", "startup_riscv.c"
)
# A compiler for Linux: its library is none for firmware, and it has habits of its own.
AARCH64: Final = Toolchain(
    "aarch64-linux-gnu-",
    "",
    "qemu-system-aarch64",
    "startup_aarch64.c",
    ("memory_aarch64.c",),
    (
        *("-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"),
        *("-fno-asynchronous-unwind-tables", "-Wl,--build-id=none,-z,max-page-size=4096"),
    ),
)
MB: Final = 1 << 20
_AT_0: Final = Memory(0x00000000, 4 * MB)
_AT_20000000: Final = Memory(0x20000000, 4 * MB)


def _cortex_m(core: str, *fpu: str) -> tuple[str, ...]:
    return (f"-mcpu=cortex-{core}", "-mthumb", *(("-mfloat-abi=hard", *fpu) if fpu else ()))


BOARDS: Final = {
    board.name: board
    for board in (
        # A Cortex-M0, which has the same instructions as the M0+.
        Board(
            "microbit",
            "Cortex-M0+",
            ARM,
            _cortex_m("m0plus"),
            ("-M", "microbit"),
            Memory(0x00000000, 256 << 10),
            Memory(0x20000000, 16 << 10),
            clock=16e6,
        ),
        Board(
            "mps2-an385",
            "Cortex-M3",
            ARM,
            _cortex_m("m3"),
            ("-M", "mps2-an385"),
            _AT_0,
            _AT_20000000,
            clock=25e6,
        ),
        Board(
            "mps2-an386",
            "Cortex-M4",
            ARM,
            _cortex_m("m4", "-mfpu=fpv4-sp-d16"),
            ("-M", "mps2-an386"),
            _AT_0,
            _AT_20000000,
            clock=25e6,
            kernels="dsp",
        ),
        Board(
            "mps2-an500",
            "Cortex-M7",
            ARM,
            _cortex_m("m7", "-mfpu=fpv5-d16"),
            ("-M", "mps2-an500"),
            _AT_0,
            _AT_20000000,
            clock=25e6,
            kernels="dsp",
        ),
        # It starts in the secure world, and these are the secure addresses.
        Board(
            "mps2-an505",
            "Cortex-M33",
            ARM,
            _cortex_m("m33", "-mfpu=fpv5-sp-d16"),
            ("-M", "mps2-an505"),
            Memory(0x10000000, 4 * MB),
            Memory(0x38000000, 2 * MB),
            clock=20e6,
            kernels="dsp",
        ),
        Board(
            "mps3-an547",
            "Cortex-M55",
            ARM,
            _cortex_m("m55", "-mfpu=auto"),
            ("-M", "mps3-an547"),
            Memory(0x00000000, 512 << 10),
            Memory(0x30000000, 512 << 10),
            clock=32e6,
            vectors=True,
            kernels="helium",
        ),
        Board(
            "rv32imc",
            "RV32IMC",
            RISCV,
            ("-march=rv32imc", "-mabi=ilp32"),
            # A core that has these instructions and no other; -bios none: no firmware but ours.
            ("-M", "virt", "-cpu", "rv32,a=off,f=off,d=off,h=off,s=off,u=off", "-bios", "none"),
            Memory(0x80000000, 4 * MB),
            Memory(0x80400000, 4 * MB),
            clock=None,
        ),
        # The core of the Raspberry Pi 3 and Zero 2; the code is the same for those of the 4 and 5.
        Board(
            "virt",
            "AArch64",
            AARCH64,
            ("-march=armv8-a",),
            ("-M", "virt", "-cpu", "cortex-a53", "-nic", "none"),
            Memory(0x40100000, 4 * MB),
            Memory(0x40800000, 4 * MB),
            clock=62.5e6,
            vectors=True,
            kernels="neon",
        ),
    )
}
