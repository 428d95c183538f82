"""The float network in PyTorch, state carried from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from edgernn.bench.engines.base import Job, items

PACKAGES: Final = ("torch",)
"""What a program imports to use it."""
NEEDS: Final = "install it with: pip install 'edgernn[export]'"


def settle() -> Any:
    """One thread and no gradients, for as long as the result lives.

    Of a process that does nothing else: to enter and leave it would be a part of every step.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    mode = torch.inference_mode()
    mode.__enter__()
    return mode


class TorchSteps:
    """See `base.Engine`. change: what is done to the module before it is used."""

    def __init__(self, job: Job, change: Callable[[Any], Any] | None = None) -> None:
        import torch

        from edgernn.bench.engines.torch_model import FedBack, StepModel, WindowModel
        from edgernn.float_file import load_float

        graph = load_float(job.path("model.float.safetensors")).graph
        made: Any
        if job.window is not None:
            made = WindowModel(graph)
        else:
            made = FedBack(graph) if graph.feedback else StepModel(graph)
        made.eval()
        self.version, self.notes = f"torch {torch.__version__}", list[str]()
        self.model = model = made if change is None else change(made)
        self._initial = [torch.from_numpy(s.initial.copy())[None] for s in graph.states]
        self._states = self._initial
        self._every = [job.window is not None and name not in job.last for name in job.outputs]

        def step(*x: Any) -> Any:
            results, self._states = model(x, self._states)
            return results

        self.step: Callable[..., Any] = step if job.window is None else lambda *x: model(x)

    def reset(self) -> None:
        """Back to the initial state."""
        self._states = self._initial

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """Tensors (1, F), of windows (1, T, F)."""
        import torch

        stream = job.stream("float")
        return items({n: torch.from_numpy(v.copy())[:, None] for n, v in stream.items()},
                     job.inputs)  # fmt: skip

    def outputs(self, result: Any) -> list[Any]:
        """As NumPy arrays, without the batch."""
        arrays = [value.numpy() for value in result]
        return [
            array[0] if every else array.reshape(array.shape[-1])
            for array, every in zip(arrays, self._every, strict=True)
        ]


load = TorchSteps
