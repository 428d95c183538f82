"""A C compiler: which one, what it compiles for, and shared libraries made with it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn.runtime.errors import EdgernnError, MissingExtraError

CANDIDATES: Final = ("cc", "gcc", "clang")
FLAGS: Final = ("-std=c99", "-O3", "-fPIC", "-shared", "-fvisibility=hidden")
_SYSTEMS: Final = {"__linux__": "linux", "__APPLE__": "darwin"}
_MACHINES: Final = {
    "__x86_64__": "x86_64",
    "__i386__": "i686",
    "__aarch64__": "aarch64",
    "__arm__": "arm",
    "__riscv": "riscv64",
}
_NATIVE: Final = {
    "x86_64": "-march=native",
    "i686": "-march=native",
    "aarch64": "-mcpu=native",
    "arm": "-mcpu=native",
}
# What a compiler may use, as it says so, and as /proc/cpuinfo does.
_FEATURES: Final = {
    "__SSE3__": "pni",
    "__SSSE3__": "ssse3",
    "__SSE4A__": "sse4a",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__POPCNT__": "popcnt",
    "__LZCNT__": "abm",
    "__MOVBE__": "movbe",
    "__BMI__": "bmi1",
    "__BMI2__": "bmi2",
    "__TBM__": "tbm",
    "__XOP__": "xop",
    "__F16C__": "f16c",
    "__FMA__": "fma",
    "__FMA4__": "fma4",
    "__AVX__": "avx",
    "__AVX2__": "avx2",
    "__AVXVNNI__": "avx_vnni",
    "__AVX512F__": "avx512f",
    "__AVX512BW__": "avx512bw",
    "__AVX512CD__": "avx512cd",
    "__AVX512DQ__": "avx512dq",
    "__AVX512VL__": "avx512vl",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16",
    "__GFNI__": "gfni",
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_FP16_FML": "asimdfhm",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
}
_FEATURES_32: Final = {"__ARM_NEON": "neon", "__ARM_FEATURE_IDIV": "idiva"}


@dataclass(frozen=True)
class Target:
    """What a compiler, with certain flags, compiles for.

    system and machine: as in `edgernn.runtime.library.platform_tag`. features: what its code may
    ask of the processor, as Linux calls it.
    """

    system: str
    machine: str
    features: frozenset[str]

    @property
    def tag(self) -> str:
        """The platform tag of a library."""
        return f"{self.system}-{self.machine}"


class Compiler:
    """A C compiler.

    command: its name or path, flags may follow; by default $CC, else the first of CANDIDATES.
    MissingExtraError if there is none.
    """

    def __init__(self, command: str | None = None) -> None:
        wanted = command or os.environ.get("CC", "")
        if wanted:
            try:
                words = shlex.split(wanted)
            except ValueError:
                words = []
            if not words or shutil.which(words[0]) is None:
                raise MissingExtraError(
                    f"the C compiler {wanted!r} was not found; install it, or name another "
                    "with --cc"
                )
        else:
            words = [name for name in CANDIDATES if shutil.which(name)][:1]
            if not words:
                raise MissingExtraError(
                    f"no C compiler was found ({', '.join(CANDIDATES)}); install one, for instance "
                    "with `sudo apt install gcc`, or name it with --cc"
                )
        if os.sep in words[0]:
            # It will be called from another folder.
            words[0] = os.path.abspath(words[0])
        self.command = tuple(words)

    @property
    def name(self) -> str:
        """What messages call it."""
        return Path(self.command[0]).name

    @property
    def version(self) -> str:
        """Name and version."""
        return f"{self.name} {self._macros(()).get('__VERSION__', '')}".rstrip()

    def target(self, flags: Sequence[str] = ()) -> Target:
        """What it compiles for with these flags.

        EdgernnError if it refuses them, or makes no libraries that Python could load.
        """
        macros = self._macros(flags)
        system = next((_SYSTEMS[m] for m in macros if m in _SYSTEMS), None)
        machine = next((_MACHINES[m] for m in macros if m in _MACHINES), None)
        wide = macros.get("__SIZEOF_POINTER__") == "8"
        if system is None or machine is None or wide != machine.endswith("64"):
            raise EdgernnError(
                f"{self.name} does not compile for Python on Linux or macOS; for a microcontroller "
                "export the model with `edgernn export --to c`, else name another compiler with "
                "--cc"
            )
        known = _FEATURES | (_FEATURES_32 if machine == "arm" else {})
        return Target(system, machine, frozenset(known[m] for m in macros if m in known))

    def native_flags(self) -> tuple[str, ...]:
        """Flags for the processor of this machine, of those that the compiler has."""
        machine = self.target().machine
        return (_NATIVE[machine],) if machine in _NATIVE else ()

    def shared_library(self, sources: Sequence[Path], target: Path, flags: Sequence[str]) -> None:
        """Compile C99 sources of one folder. EdgernnError with the first error if it fails."""
        folder = target.parent
        files = [str(path.relative_to(folder)) for path in sources]
        # Names of Python's are found when Python loads the library; here Linux lets them be open.
        open_names = ["-Wl,-undefined,dynamic_lookup"] if self.target().system == "darwin" else []
        self.run([*FLAGS, *flags, *open_names, "-o", target.name, *files], folder)

    def _macros(self, flags: Sequence[str]) -> Mapping[str, str]:
        text = self.run([*flags, "-dM", "-E", "-x", "c", "-"])
        found = re.findall(r"^#define (\w+) (.*)$", text, re.MULTILINE)
        return {name: value.strip('"') for name, value in found}

    def run(self, arguments: Sequence[str], folder: Path | None = None) -> str:
        """Run it in a folder; what it prints. EdgernnError with its first error if it fails."""
        command = [*self.command, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                # The messages are looked through for the word error.
                env=os.environ | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise EdgernnError(
                f"{self.name} cannot be started: {error.strerror}; name another compiler with --cc"
            ) from None
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            first = next((line for line in lines if re.search(r"\berror\b", line)), None)
            reason = (first or (lines or [f"exit code {done.returncode}"])[0])[:300]
            raise EdgernnError(
                f"{self.name} fails: {reason}; try other flags, or another compiler with --cc"
            )
        return done.stdout
