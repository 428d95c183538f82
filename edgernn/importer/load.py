"""Import: a torch module or an exported program becomes the frozen float graph."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgernn.graph import Graph
from edgernn.importer.extras import require_safetensors, require_torch
from edgernn.importer.pt2 import first_line, quiet
from edgernn.runtime.errors import FileFormatError, InputError, UnsupportedError

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.nn import Module

    from edgernn.importer.heads import Heads


def import_model(
    model: Module | ExportedProgram, args: tuple[Any, ...] | None = None, heads: Heads = "logits"
) -> Graph:
    """The graph of a model: one vector per time step, float32 NumPy arrays, nothing of torch.

    A module is exported in eval mode with args as example; its training flags are restored. The
    batch size and the sequence length of the example are not properties of the graph. The result
    is held against torch on the example and on random data.
    heads: `logits` leaves a softmax, log_softmax, sigmoid or softplus at the model's end out of the
    graph and records it with the output; `integer` keeps it.
    UnsupportedError, one sentence with node, operator, source line and way out, for anything that
    is not taken; InputError if a module comes without args.
    """
    torch = require_torch()
    from edgernn.importer.check import check
    from edgernn.importer.finish import finish
    from edgernn.importer.fold import fold
    from edgernn.importer.heads import HEADS
    from edgernn.importer.trace import Tracer

    if heads not in HEADS:
        raise InputError(f"heads {heads!r} is none of {', '.join(HEADS)}")
    if isinstance(model, torch.export.ExportedProgram):
        program = model
    elif isinstance(model, torch.nn.Module):
        program = _export(torch, model, args)
    else:
        raise InputError(
            f"a model is a torch.nn.Module or an ExportedProgram, not {type(model).__name__}"
        )
    tracer = Tracer(program)
    tracer.run()
    graph, renamed = finish(tracer, heads)
    check(tracer, graph, renamed)
    return fold(graph)


def load_factory(spec: str, weights: str | os.PathLike[str] | None = None) -> Module:
    """Call the user's own `package.module:factory` and load weights into what it returns.

    weights: a .safetensors file, or a .pt or .pth file with a state dict (read without running
    code). InputError if the factory cannot be found or called or the weights do not fit it;
    FileFormatError if the file is missing, damaged or holds more than tensors.
    """
    torch = require_torch()
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name.isidentifier()):
        raise InputError(f"{spec!r} is not a factory; write it as package.module:function")
    with _current_directory_importable():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise InputError(
                f"cannot import {module_name}: {type(error).__name__}: {first_line(error)}; run "
                "from the folder that holds it, or add it to PYTHONPATH"
            ) from None
        factory = getattr(module, name, None)
        if not callable(factory):
            raise InputError(f"{module_name} has no function {name}; check the name in {spec!r}")
        try:
            model: Module = factory()
        except Exception as error:
            raise InputError(
                f"{spec} failed: {type(error).__name__}: {first_line(error)}; a factory takes no "
                "arguments and returns a torch.nn.Module"
            ) from None
    if not isinstance(model, torch.nn.Module):
        raise InputError(
            f"{spec} returned {type(model).__name__}; a factory returns a torch.nn.Module"
        )
    if weights is not None:
        _load_weights(torch, model, _read_weights(torch, os.fspath(weights)), os.fspath(weights))
    built: Module = model
    return built


def _export(torch: Any, model: Module, args: tuple[Any, ...] | None) -> ExportedProgram:
    if args is None:
        raise InputError(
            "a module needs example inputs; pass args, such as (torch.zeros(1, 8, F),)"
        )
    if not isinstance(args, tuple):
        raise InputError(f"args is a tuple of example inputs, not {type(args).__name__}")
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = False
        with (
            quiet(),
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            program: ExportedProgram = torch.export.export(model, args)
    except Exception as error:
        raise UnsupportedError(
            f"torch.export cannot trace {type(model).__name__} ({type(error).__name__}: "
            f"{first_line(error)}); remove branches and loops that depend on the data, and "
            "packed sequences, from forward (edgernn.nn.VariableLength takes lengths)"
        ) from None
    finally:
        for module, flag in training.items():
            module.training = flag
    return program


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _read_weights(torch: Any, path: str) -> Mapping[str, Any]:
    if not Path(path).is_file():
        raise FileFormatError(f"there is no file {path}; check the path of the weights")
    suffix = Path(path).suffix.lower()
    if suffix not in (".safetensors", ".pt", ".pth"):
        raise FileFormatError(f"{path} is neither .safetensors nor .pt nor .pth; save it as one")
    loader = require_safetensors().load_file if suffix == ".safetensors" else None
    try:
        if loader is None and zipfile.is_zipfile(path):
            # torch does not look at the checksums of its own format.
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise ValueError("a checksum does not match")
        with quiet():
            state = loader(path) if loader else torch.load(
                path, map_location="cpu", weights_only=True
            )  # fmt: skip
    except Exception:
        raise FileFormatError(
            f"{path} is damaged, or holds more than tensors, which could run code; save it with "
            "torch.save(model.state_dict(), ...) or as .safetensors"
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise FileFormatError(
            f"{path} does not hold a state dict; save it with torch.save(model.state_dict(), ...)"
        )
    return state


def _load_weights(torch: Any, model: Module, state: Mapping[str, Any], path: str) -> None:
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not in the model" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)} and the model has {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(
            f"the weights in {path} do not fit the model: {problems[0]}{more}; build the model "
            "with the sizes it was trained with"
        )
    try:
        model.load_state_dict(state)
    except Exception as error:
        raise InputError(
            f"the weights in {path} cannot be loaded ({first_line(error)}); save them again"
        ) from None
