"""A Raspberry Pi without one: Debian bookworm for arm64 in a folder, run by qemu's user mode.

Raspberry Pi OS bookworm has the same Python 3.11 and NumPy 1.24. The packages are downloaded with
apt, whose lists are signed and name the SHA-256 of every file, and unpacked without installing
them: nothing outside FOLDER changes. Needs apt-get and dpkg-deb (Debian, Ubuntu), qemu-user-static,
and the network once: 40 MB in some 10 seconds, 150 MB unpacked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "build" / "raspberry_pi"
"""Inside the checkout: `make clean` takes it along, and it is fetched again in seconds."""
RECIPE: Final = 1
"""To be raised when what is unpacked changes."""
PACKAGES: Final = (
    *("python3-numpy", "libblas3", "liblapack3", "libopenblas0-serial"),
    # The wheel's, and the locale's: what is not in the root would be looked for on this machine.
    *("libstdc++6", "libc-bin"),
)
WHEEL: Final = "tflite-runtime==2.14.0"
MIRROR: Final = "EDGERNN_DEBIAN_MIRROR"
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

CPU: Final = "cortex-a72"
"""That of the Raspberry Pi 4: an instruction that it does not have is an error."""
BLAS: Final = {"reference": ("blas", "lapack"), "openblas": ("openblas-serial",)}
"""What python3-numpy brings, and what `apt install libopenblas0` puts in its place."""


class UnavailableError(RuntimeError):
    """The emulated machine cannot be had here; the message says what is missing."""


def root() -> Path:
    """The root file system; the first call downloads it. UnavailableError if that cannot be."""
    for tool in ("qemu-aarch64-static", "apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"{tool} is not installed; `make toolchain` installs it")
    target = FOLDER / f"root-{RECIPE}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            for old in FOLDER.glob("*-*"):
                shutil.rmtree(old)
            partial = Path(tempfile.mkdtemp(prefix="partial-", dir=FOLDER))
            try:
                _unpack(partial).rename(target)
            finally:
                shutil.rmtree(partial)
    return target


def run(command: Sequence[str | Path], *, blas: str = "reference", timeout: float = 600) -> str:
    """Run an aarch64 program with its arguments; its standard output.

    RuntimeError with its standard error if it fails. One thread; nothing of this machine's
    environment reaches it, and libraries are those of the root.
    """
    libraries = ":".join(f"/usr/lib/aarch64-linux-gnu/{name}" for name in BLAS[blas])
    inside = {
        "LD_LIBRARY_PATH": libraries,
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    variables = [part for name, value in inside.items() for part in ("-E", f"{name}={value}")]
    qemu = ["qemu-aarch64-static", "-cpu", CPU, "-L", str(root()), *variables]
    outside = {"PATH": os.environ.get("PATH", os.defpath)}
    return _run([*qemu, *map(str, command)], RuntimeError, env=outside, timeout=timeout)


def run_python(*arguments: str | Path, blas: str = "reference", timeout: float = 600) -> str:
    """Run the root's Python 3.11, as in `run`: a script or `-c` and code, then its arguments."""
    python = root() / "usr" / "bin" / "python3.11"
    return run([python, "-s", *arguments], blas=blas, timeout=timeout)


# -- inside -------------------------------------------------------------------------------------


def _unpack(folder: Path) -> Path:
    """Download everything below `folder`; the root's place in it."""
    if not KEYRING.is_file():
        raise UnavailableError(f"{KEYRING} is missing: install debian-archive-keyring")
    result, lists, archives = folder / "root", folder / "state" / "lists", folder / "archives"
    for part in (result, lists / "partial", archives / "partial"):
        part.mkdir(parents=True)
    # An apt of its own, with nothing installed and no hooks, beside that of the system.
    configuration, status = folder / "apt.conf", folder / "status"
    status.touch()
    configuration.write_text(f"""
        #clear APT::Update;
        #clear DPkg;
        #clear Acquire::IndexTargets;
        Acquire::IndexTargets::deb::Packages {{
            MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
        }};
        Acquire::Languages "none";
        APT::Install-Recommends "false";
        APT::Sandbox::User "";
        Dir::State "{folder}/state";
        Dir::State::lists "{lists}";
        Dir::State::status "{status}";
        Dir::Cache "{folder}";
        Dir::Cache::archives "{archives}";
        Dir::Etc::preferences "/dev/null";
        Dir::Etc::preferencesparts "/dev/null";
    """)
    apt = ["apt-get", "-qq", "-c", str(configuration)]
    sources = folder / "bookworm.sources"
    sources.write_text(
        f"Types: deb\nURIs: {_mirror(apt)}\nSuites: bookworm\nComponents: main\n"
        f"Architectures: arm64\nSigned-By: {KEYRING}\n"
    )
    with configuration.open("a") as stream:
        stream.write(f"""
            #clear APT::Architectures;
            APT::Architecture "arm64";
            APT::Architectures {{ "arm64"; }};
            Dir::Etc::SourceList "{sources}";
            Dir::Etc::SourceParts "/dev/null";
        """)
    _run([*apt, "update", "--error-on=any"], UnavailableError)
    _run([*apt, "install", "-y", "--download-only", *PACKAGES], UnavailableError)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(result)], UnavailableError)
    _run([*_pip(result / "usr/local/lib/python3.11/dist-packages"), WHEEL], UnavailableError)
    return result


def _mirror(apt: Sequence[str]) -> str:
    """The Debian mirror that this machine's apt is set to."""
    if MIRROR in os.environ:
        return os.environ[MIRROR]
    shown = [*apt[:2], "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]
    # Its own lists may have been removed to save space: then read them into ours.
    for known in (["apt-get"], list(apt)):
        if known[1:]:
            _run([*known, "update"], UnavailableError)
        for line in _run([*known, *shown[2:]], UnavailableError).splitlines():
            if line.startswith("Debian|Debian|"):
                return line.rpartition("|")[2]
    raise UnavailableError(f"apt knows no Debian mirror here; set {MIRROR} to the URL of one")


def _pip(target: Path) -> list[str]:
    foreign = ["--platform", "manylinux_2_34_aarch64", "--python-version", "3.11"]
    alone = ["--only-binary=:all:", "--no-deps", "--no-compile"]
    return [sys.executable, "-m", "pip", "install", "-q", "--target", str(target), *foreign, *alone]


def _run(
    command: Sequence[str],
    error: type[RuntimeError],
    *,
    env: dict[str, str] | None = None,
    timeout: float = 300,
) -> str:
    shown = " ".join(command[:3])
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=env,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise error(f"{shown} ... took more than {timeout:.0f} s") from None
    if done.returncode:
        raise error(f"{shown} ... failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
    return done.stdout
