"""Generation: an output of one step becomes an input of the next.

The graph gets an input `given` of one number a step. Where it is not 0 the step reads the input as
it is given, where it is 0 the output of the step before: a stream is primed, then left to itself.
Calibration runs with everything given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from edgernn.graph import Feedback, FloatArray, Graph
from edgernn.runtime.errors import InputError, UnsupportedError

Results = tuple[dict[str, FloatArray], dict[str, FloatArray]]
Observer = Callable[[str, FloatArray], None]
Run = Callable[
    [Graph, dict[str, FloatArray], dict[str, FloatArray], Observer | None],
    Results,
]


def feed_back(graph: Graph, output: str = "y", input: str = "x") -> Graph:
    """The graph with an output fed back as an input; call it again for another pair.

    Inputs: `given`, or `given_<input>` from the second on, is added behind the others; it is (1,)
    and needs no calibration data. States: `last_<output>`, zeros at the start, is added.
    InputError if there is no such output or input, or their sizes differ; UnsupportedError for a
    model that reads backwards, or whose input is token ids.
    """
    outputs = {o.name: o.value for o in graph.outputs}
    fed = {f.input for f in graph.feedback}
    inputs = [n for n in graph.inputs if n not in {*graph.masks, *fed}]
    if output not in outputs:
        raise InputError(f"the model has no output {output!r}; it has {', '.join(outputs)}")
    if input not in inputs:
        raise InputError(f"the model has no input {input!r} to feed; it has {', '.join(inputs)}")
    left = next(o.head for o in graph.outputs if o.name == output)
    if left:
        raise UnsupportedError(
            f"the output {output} is what {left} reads, which is left to the application; quantize "
            "with heads='integer' to feed back its result"
        )
    if graph.is_window or any(node.kind in ("last", "first") for node in graph.nodes):
        raise UnsupportedError(
            "the model reads its window backwards, so no output is there before the window ends; "
            "feed back outputs of models that stream"
        )
    if input in graph.tokens:
        raise UnsupportedError(
            f"the input {input} holds token ids, and the output {output} does not; choose the "
            "next token outside the model and feed it"
        )
    sizes = graph.sizes[outputs[output]], graph.sizes[input]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"the output {output} has {sizes[0]} features and the input {input} {sizes[1]}; feed "
            "back an output of the input's size"
        )
    given = "given" if "given" not in graph.sizes else f"given_{input}"
    states = {state.name for state in graph.states}
    state = f"last_{output}" if f"last_{output}" not in states else f"last_{output}_of_{input}"
    if given in graph.sizes or state in states:
        raise InputError(f"the names {given} and {state} are taken; rename layers of the model")
    feedback = Feedback(outputs[output], input, given, state)
    return replace(
        graph,
        sizes={**graph.sizes, given: 1},
        inputs=(*graph.inputs, given),
        feedback=(*graph.feedback, feedback),
    )


def run_fed_back(
    graph: Graph,
    inputs: Mapping[str, FloatArray],
    states: Mapping[str, FloatArray],
    observe: Observer | None,
    run: Run,
) -> Results:
    """`float_engine.run_float` of a graph with feedback.

    inputs, states: all of them, checked. run: what runs the network without feedback.
    """
    plain = replace(
        graph,
        inputs=tuple(n for n in graph.inputs if n not in {f.given for f in graph.feedback}),
        feedback=(),
    )
    pieces: list[dict[str, FloatArray]] = []
    seen: dict[str, list[FloatArray]] = {}
    carried = dict(states)

    def keep(name: str, value: FloatArray) -> None:
        seen.setdefault(name, []).append(value.copy())

    # The last values are outputs, whatever the model returns.
    keeps = tuple(replace(graph.outputs[0], name=f.state, value=f.output) for f in graph.feedback)
    plain = replace(plain, outputs=(*plain.outputs, *keeps))
    for piece in _pieces(graph, inputs):
        now = {name: inputs[name][:, piece] for name in plain.inputs}
        for f in graph.feedback:
            given = inputs[f.given][:, piece] != 0
            now[f.input] = np.where(given, now[f.input], carried[f.state][:, None])
        results, finished = run(plain, now, carried, keep if observe else None)
        carried = finished | {f.state: results[f.state][:, -1] for f in graph.feedback}
        pieces.append(results)
    if observe is not None:
        for f in graph.feedback:
            observe(f.given, inputs[f.given])
        for name, values in seen.items():
            observe(name, np.concatenate(values, axis=1))
    names = [output.name for output in graph.outputs]
    return {n: np.concatenate([p[n] for p in pieces], axis=1) for n in names}, carried


def _pieces(graph: Graph, inputs: Mapping[str, FloatArray]) -> Iterator[slice]:
    """Steps that can run together: where everything is given, else one by one."""
    given = np.all([(inputs[f.given] != 0).all(axis=(0, 2)) for f in graph.feedback], axis=0)
    begin, length = 0, len(given)
    while begin < length:
        end = begin + 1
        while given[begin] and end < length and given[end]:
            end += 1
        yield slice(begin, end)
        begin = end
