"""Loading a .pt2 file from anyone: no pickle, no expression, no name in it can run code.

The archive is read with Python alone (`archive`), its JSON is rebuilt from checked pieces
(`pt2_json`), its weights are raw numbers; a new archive of these is what torch.export.load sees.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgernn.importer import archive
from edgernn.importer.archive import Records, read_archive, write_archive
from edgernn.importer.extras import require_torch
from edgernn.importer.pt2_json import (
    Malformed,
    argument,
    expression,
    identifier,
    node,
    parse,
    path,
    sym_bool,
    sym_int,
    tensor_meta,
)
from edgernn.runtime.errors import EdgernnError, FileFormatError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_ITEM_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
_RECORD: Final = re.compile(r"(weight|tensor)_\d{1,9}")
_CLASS: Final = re.compile(r"[\w.<>]{1,200}")


def load_pt2(path: str | os.PathLike[str]) -> ExportedProgram:
    """Load a file of torch.export.save without running anything that is in it.

    Sample inputs are left behind. FileFormatError if the file is damaged, of the older pickled
    layout, or holds anything that could run code; UnsupportedError if it calls operators that
    are not ATen's.
    """
    where = os.fspath(path)
    torch = require_torch()
    records = read_archive(where)
    try:
        model, traces = _model(parse(records[archive.MODEL]))
        clean = {archive.MODEL: _json(model), archive.SAMPLES: b""}
        for config, folder in ((archive.WEIGHTS, "weights"), (archive.CONSTANTS, "constants")):
            clean |= _tensors(records, config, f"data/{folder}/")
    except Malformed as error:
        raise FileFormatError(f"{where} is not a sound .pt2 file: {error}") from None
    except EdgernnError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FileFormatError(
            f"{where} is not a sound .pt2 file ({type(error).__name__}); save it again"
        ) from None
    try:
        with quiet():
            program: ExportedProgram = torch.export.load(write_archive(clean))
    except Exception as error:
        raise FileFormatError(
            f"torch {torch.__version__} cannot load {where} ({first_line(error)}); save it again "
            "with this version of torch"
        ) from None
    for fx_node in program.graph.nodes:
        fx_node.meta.update(traces.get(fx_node.name, {}))
    return program


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's log and warnings away from the user, who gets one sentence."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _model(document: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The checked model document, and what error messages need: node -> stack traces."""
    module = document["graph_module"]
    graph, signature = module["graph"], module["signature"]
    if graph.get("custom_obj_values") or graph.get("sym_float_values"):
        raise Malformed("it holds custom objects")
    inputs = [_input_spec(spec) for spec in signature["input_specs"]]
    outputs = [_output_spec(spec) for spec in signature["output_specs"]]
    arguments = sum("user_input" in spec or "constant_input" in spec for spec in inputs)
    results = sum("user_output" in spec for spec in outputs)
    clean_graph = {
        "inputs": [argument(x) for x in graph["inputs"]],
        "outputs": [argument(x) for x in graph["outputs"]],
        "nodes": [node(x) for x in graph["nodes"]],
        "tensor_values": {identifier(k): tensor_meta(v) for k, v in graph["tensor_values"].items()},
        "sym_int_values": {identifier(k): sym_int(v) for k, v in graph["sym_int_values"].items()},
        "sym_bool_values": {
            identifier(k): sym_bool(v) for k, v in graph["sym_bool_values"].items()
        },
        "is_single_tensor_return": False,
        "custom_obj_values": {},
        "sym_float_values": {},
    }
    version = document["schema_version"]
    clean = {
        "graph_module": {
            "graph": clean_graph,
            "signature": {"input_specs": inputs, "output_specs": outputs},
            "module_call_graph": [_call(arguments, results)],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {"aten": _count(document["opset_version"]["aten"])},
        "range_constraints": {
            expression(identifier(name)): {
                side: None if bound[side] is None else _count(bound[side])
                for side in ("min_val", "max_val")
            }
            for name, bound in document["range_constraints"].items()
        },
        "schema_version": {k: _count(version[k]) for k in ("major", "minor")},
        "verifiers": ["TRAINING"],
        "torch_version": "",
        "guards_code": [],
    }
    return clean, {x["name"]: _trace(x.get("metadata")) for x in graph["nodes"]}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Malformed("a number is not a count")
    return value


def _call(arguments: int, results: int) -> dict[str, Any]:
    """The root call with its inputs and outputs as flat tuples: names and types are not needed."""
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}

    def tuple_of(children: list[Any]) -> dict[str, Any]:
        return {"type": "builtins.tuple", "context": "null", "children_spec": children}

    no_keywords = {"type": "builtins.dict", "context": "[]", "children_spec": []}
    in_spec = [1, tuple_of([tuple_of([leaf] * arguments), no_keywords])]
    out_spec = [1, tuple_of([leaf] * results)]
    signature = {
        "inputs": [],
        "outputs": [],
        "in_spec": json.dumps(in_spec),
        "out_spec": json.dumps(out_spec),
        "forward_arg_names": [f"arg{i}" for i in range(arguments)],
    }
    return {"fqn": "", "signature": signature}


def _input_spec(spec: Any) -> dict[str, Any]:
    ((kind, content),) = spec.items()
    if kind == "user_input":
        return {kind: {"arg": argument(content["arg"])}}
    if kind == "constant_input":
        value = argument(
            content["value"], ("as_none", "as_int", "as_float", "as_bool", "as_string")
        )
        return {kind: {"name": identifier(content["name"]), "value": value}}
    names = {
        "parameter": "parameter_name",
        "buffer": "buffer_name",
        "tensor_constant": "tensor_constant_name",
    }
    if kind not in names:
        raise Malformed(f"an input is of the unknown kind {str(kind)[:40]!r}")
    clean: dict[str, Any] = {"arg": {"name": identifier(content["arg"]["name"])}, names[kind]: path(
        content[names[kind]]
    )}  # fmt: skip
    if kind == "buffer":
        clean["persistent"] = bool(content["persistent"])
    return {kind: clean}


def _output_spec(spec: Any) -> dict[str, Any]:
    ((kind, content),) = spec.items()
    if kind == "user_output":
        return {kind: {"arg": argument(content["arg"])}}
    if kind == "buffer_mutation":
        name = {"name": identifier(content["arg"]["name"])}
        return {kind: {"arg": name, "buffer_name": path(content["buffer_name"])}}
    raise Malformed(f"an output is of the unknown kind {str(kind)[:40]!r}")


def _tensors(records: Records, config: str, folder: str) -> Records:
    """The raw tensors of a config record, and the record rewritten."""
    clean: Records = {}
    entries = {}
    for name, entry in parse(records[config])["config"].items():
        record = entry["path_name"]
        if entry["use_pickle"] is not False or not _RECORD.fullmatch(str(record)):
            raise Malformed(
                f"{path(name)} is a pickled object, which could run code, so save it as a "
                "plain dense tensor"
            )
        meta = tensor_meta(entry["tensor_meta"])
        content = records[folder + record]
        sizes = [size.get("as_int") for size in meta["sizes"]]
        if None in sizes or any("as_int" not in stride for stride in meta["strides"]):
            raise Malformed(f"{path(name)} has a symbolic size")
        needed = _ITEM_SIZES[meta["dtype"]]
        for size in sizes:
            needed *= size
        # Otherwise a few bytes could claim to be gigabytes.
        if needed > len(content):
            raise Malformed(f"{path(name)} has fewer numbers than its shape needs")
        clean[folder + record] = content
        entries[path(name)] = {
            "path_name": record,
            "is_param": bool(entry["is_param"]),
            "use_pickle": False,
            "tensor_meta": meta,
        }
    clean[config] = _json({"config": entries})
    return clean


def _trace(metadata: Any) -> dict[str, Any]:
    """Where a node comes from: text for messages, kept away from torch."""
    kept: dict[str, Any] = {}
    if isinstance(metadata, dict):
        trace, modules = metadata.get("stack_trace"), metadata.get("nn_module_stack")
        if isinstance(trace, str):
            lines = trace[:20000].splitlines()
            kept["stack_trace"] = "\n".join(line for line in lines if line.isprintable())
        if isinstance(modules, str):
            layer = modules.rpartition(",")[2]
            if _CLASS.fullmatch(layer):
                kept["nn_module_stack"] = {"": ("", layer)}
    return kept
