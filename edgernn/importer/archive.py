"""The .pt2 archive as plain bytes: a zip of stored records, checked before anything reads them.

torch.export.load unpickles sample inputs, custom objects and older weights, and opens compiled
libraries; each of these can run code. Here the zip is read with Python alone, records that could
hold code are refused or left out, and what remains is written as a new archive.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgernn.runtime.errors import FileFormatError

MAX_FILE: Final = 4 << 30
MAX_RECORDS: Final = 20000
MODEL: Final = "models/model.json"
WEIGHTS: Final = "data/weights/model_weights_config.json"
CONSTANTS: Final = "data/constants/model_constants_config.json"
SAMPLES: Final = "data/sample_inputs/model.pt"
_PICKLED_LAYOUTS: Final = re.compile(
    r"serialized_\w+\.(json|pt)|data/(weights|constants)/model\.pt|.*data\.pkl"
)
# What torch.save writes for tensors in tuples, lists and dicts.
_TENSOR_GLOBALS: Final = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|collections OrderedDict"
    r"|torch (\w+Storage|Size|device)|torch\.storage \w+Storage"
)
_PICKLE_NAMES: Final = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}

Records = dict[str, bytes]


def read_archive(path: str | os.PathLike[str]) -> Records:
    """The records of a .pt2 file, name -> content; FileFormatError if it is not a sound one.

    Nothing is decompressed and nothing is unpickled.
    """
    where = os.fspath(path)
    try:
        size = Path(path).stat().st_size
        if size > MAX_FILE:
            raise FileFormatError(f"{where} has {size} bytes, more than the {MAX_FILE} allowed")
        content = Path(path).read_bytes()
    except OSError as error:
        raise FileFormatError(f"cannot read {where}: {error.strerror or error}") from None
    records = _records(content, where)
    _refuse_code(records, where)
    return records


def write_archive(records: Mapping[str, bytes]) -> io.BytesIO:
    """A new archive with these records and torch's fixed ones, to be read by torch.export.load."""
    stream = io.BytesIO()
    fixed = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**fixed, ".data/version": b"6\n", **records}.items():
            archive.writestr(f"model/{name}", content)
    stream.seek(0)
    return stream


def _records(content: bytes, where: str) -> Records:
    damaged = FileFormatError(
        f"{where} is damaged or not a .pt2 file; write one with torch.export.save"
    )
    records: Records = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            stored = all(e.compress_type == zipfile.ZIP_STORED for e in entries)
            total = sum(e.file_size for e in entries)
            # torch stores records as they are: anything else is a zip bomb or not from torch.
            if not stored or total > len(content) or len(entries) > MAX_RECORDS:
                raise FileFormatError(
                    f"{where} is compressed or overlaps itself, which torch.export.save never "
                    "does; write it again with torch.export.save"
                )
            for entry in entries:
                root, _, name = entry.filename.partition("/")
                name = name or root
                if name in records:
                    raise damaged
                records[name] = archive.read(entry)
    except FileFormatError:
        raise
    except Exception:  # zipfile raises a dozen kinds on damaged input
        raise damaged from None
    return records


def _refuse_code(records: Records, where: str) -> None:
    pickled = next((name for name in records if _PICKLED_LAYOUTS.fullmatch(name)), None)
    if pickled is not None:
        raise FileFormatError(
            f"{where} holds the pickle {pickled[:64]}, which could run code; it is of an older "
            "layout, so save the model again with torch.export.save of torch 2.9 or newer"
        )
    for name in (MODEL, WEIGHTS, CONSTANTS):
        if name not in records:
            raise FileFormatError(
                f"{where} has no record {name}; write the file with torch.export.save"
            )
    if records.get("archive_format") != b"pt2" or records.get("archive_version") != b"0":
        raise FileFormatError(f"{where} is not a .pt2 archive of version 0; save it again")
    if records.get("byteorder", b"little") != b"little":
        raise FileFormatError(f"{where} is not little-endian; save it on another machine")
    library = next((name for name in records if name.startswith("data/aotinductor/")), None)
    if library is not None:
        raise FileFormatError(
            f"{where} holds compiled code ({library[:64]}); save the exported program alone, "
            "with torch.export.save"
        )
    _check_samples(records.get(SAMPLES, b""), where)


def _check_samples(content: bytes, where: str) -> None:
    """Sample inputs are never used; but a file whose pickle would run code is not to be kept."""
    foreign: str | None = None
    if content:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                stored = {e.compress_type for e in archive.infolist()} <= {zipfile.ZIP_STORED}
                names = [n for n in archive.namelist() if n.endswith("data.pkl")]
                if not stored or len(names) != 1:
                    raise ValueError
                foreign = _foreign_global(archive.read(names[0]))
        except Exception:
            foreign = "something that is not a tensor"
    if foreign is not None:
        raise FileFormatError(
            f"the sample inputs of {where} hold the pickled object {foreign[:64]}, which could "
            "run code; export the model again with plain tensors as example"
        )


def _foreign_global(pickle: bytes) -> str | None:
    """The first global a pickle names that plain tensors do not need; it is read, never run."""
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in _PICKLE_NAMES:
            return opcode.name
        if opcode.name == "GLOBAL" and not _TENSOR_GLOBALS.fullmatch(str(argument)):
            return str(argument).replace(" ", ".")
    return None
