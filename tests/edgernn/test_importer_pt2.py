"""A .pt2 file from anyone: it loads as saved, or is refused in one sentence; nothing in it runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from edgernn.graph import Graph  # noqa: E402
from edgernn.importer import (  # noqa: E402
    import_model,
    load_pt2,
    pt2_json,
)
from edgernn.importer.pt2 import quiet  # noqa: E402
from edgernn.runtime.errors import EdgernnError, FileFormatError, UnsupportedError  # noqa: E402
from tests.edgernn.test_importer import F, H, Model, N, T, gru, sequence  # noqa: E402

Edit = Callable[[dict[str, bytes]], None]


def build() -> Any:
    torch.manual_seed(3)

    def forward(m: Any, x: Any) -> Any:
        n = x.shape[0]
        start = (m.start + m.held).expand(-1, n, -1).contiguous()
        y = m.g(x, start)[0]
        a, b = m.fc(y).reshape(n * T, 3).reshape(n, T, 3).split([1, 2], -1)
        return {"a": torch.tanh(a), "b": b[:, -1]}

    model = Model(forward, g=gru(num_layers=2), fc=nn.Linear(H, 3)).eval()
    model.start = nn.Parameter(0.3 * sequence(2, 1, H))
    model.register_buffer("held", 0.1 * sequence(2, 1, H, seed=1), persistent=False)
    return model


def export(model: Any, dynamic: bool = False) -> Any:
    shapes = {"inputs": ({0: torch.export.Dim("batch", max=64)},)} if dynamic else None
    with quiet():
        return torch.export.export(model, (sequence(N, T, F),), dynamic_shapes=shapes)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    with quiet():
        torch.export.save(export(build(), dynamic=True), path)
    return path


def equal(a: Graph, b: Graph) -> None:
    outputs = [[(o.name, o.value, o.last) for o in graph.outputs] for graph in (a, b)]
    assert outputs[0] == outputs[1]
    assert a.batch_first == b.batch_first
    assert dict(a.sizes) == dict(b.sizes)
    assert a.inputs == b.inputs
    for p, q in zip(a.nodes, b.nodes, strict=True):
        assert (p.kind, p.inputs, p.outputs, p.begin) == (q.kind, q.inputs, q.outputs, q.begin)
        assert list(p.arrays) == list(q.arrays)
        for name in p.arrays:
            np.testing.assert_array_equal(p.arrays[name], q.arrays[name])
        for s, t in zip(p.carried, q.carried, strict=True):
            assert (s.name, s.value) == (t.name, t.value)
            np.testing.assert_array_equal(s.initial, t.initial)


def rewrite(source: Path, target: Path, edit: Edit) -> Path:
    with zipfile.ZipFile(source) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    edit(records)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"model/{name}", content)
    return target


def edit_json(record: str, change: Callable[[Any], Any]) -> Edit:
    def edit(records: dict[str, bytes]) -> None:
        document = json.loads(records[record])
        change(document)
        records[record] = json.dumps(document).encode()

    return edit


def nodes(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"]


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_module_and_its_file_give_one_graph(dynamic: bool, tmp_path: Path) -> None:
    model = build()
    with quiet():
        torch.export.save(export(model, dynamic), tmp_path / "m.pt2")
    program = load_pt2(tmp_path / "m.pt2")
    assert program.example_inputs is None
    equal(import_model(program), import_model(model, (sequence(N, T, F),)))


def test_a_refusal_from_a_file_names_the_users_line(tmp_path: Path) -> None:
    model = Model(lambda m, x: torch.softmax(m.g(x)[0], 1), g=gru())
    with quiet():
        torch.export.save(export(model), tmp_path / "m.pt2")
    with pytest.raises(UnsupportedError, match=r"test_importer\w*\.py:\d+: node softmax"):
        import_model(load_pt2(tmp_path / "m.pt2"))


def bombs(folder: Path) -> dict[str, Edit]:
    """Every place of the format where torch would run code; each would make the folder."""
    payload = pickle.dumps(Bomb(folder))
    stream = io.BytesIO()
    torch.save((Bomb(folder),), stream)
    saved_bomb = stream.getvalue()
    code = f"__import__('os').mkdir({str(folder)!r})"
    model = "models/model.json"
    weights = "data/weights/model_weights_config.json"
    constants = "data/constants/model_constants_config.json"

    def put(name: str, content: bytes) -> Edit:
        return lambda records: records.__setitem__(name, content)

    def pickled_weight(records: dict[str, bytes]) -> None:
        edit_json(weights, lambda d: d["config"]["fc.weight"].update(use_pickle=True))(records)
        records["data/weights/weight_9"] = saved_bomb

    def custom(prefix: str) -> Edit:
        def edit(records: dict[str, bytes]) -> None:
            edit_json(constants, lambda d: d["config"]["held"].update(path_name=f"{prefix}_0"))(
                records
            )
            records[f"data/constants/{prefix}_0"] = payload

        return edit

    def sym(document: Any) -> None:
        values = document["graph_module"]["graph"]["tensor_values"]
        values["inputs_0"]["sizes"][0]["as_expr"]["expr_str"] = code

    def sym_values(document: Any) -> None:
        values = document["graph_module"]["graph"]["sym_int_values"]
        next(iter(values.values()))["as_expr"]["expr_str"] = code

    def name(document: Any) -> None:
        text = f"x=0):\n    pass\n{code}\ndef g(x"
        for part in ("inputs",):
            document["graph_module"]["graph"][part][-1]["as_tensor"]["name"] = text

    return {
        "sample inputs": put("data/sample_inputs/model.pt", saved_bomb),
        "raw pickle as sample inputs": put("data/sample_inputs/model.pt", payload),
        "pickled weight": pickled_weight,
        "custom object": custom("custom_obj"),
        "opaque object": custom("opaque_obj"),
        "legacy weights": put("data/weights/model.pt", saved_bomb),
        "legacy constants": put("data/constants/model.pt", saved_bomb),
        "size expression": edit_json(model, sym),
        "symbolic value": edit_json(model, sym_values),
        "range": edit_json(model, lambda d: d["range_constraints"].update({code: {}})),
        "operator": edit_json(model, lambda d: nodes(d)[0].update(target="torch.os.system")),
        "operator of sys": edit_json(
            model, lambda d: nodes(d)[0].update(target="torch.ops.aten.__class__.__base__")
        ),
        "math": edit_json(model, lambda d: nodes(d)[0].update(target="_operator.methodcaller")),
        "input name": edit_json(model, name),
        "node name": edit_json(model, lambda d: nodes(d)[0].update(name=f"a\n{code}\n")),
        "operator argument": edit_json(
            model,
            lambda d: nodes(d)[0]["inputs"][0].update(arg={"as_operator": "torch.os.system"}),
        ),
        "compiled library": put("data/aotinductor/model/x.so", b"\x7fELF"),
    }


@pytest.mark.parametrize("place", bombs(Path("x")))
def test_no_place_in_the_file_can_run_code(place: str, saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ran"
    path = rewrite(saved, tmp_path / "bomb.pt2", bombs(folder)[place])
    with pytest.raises(FileFormatError) as caught:
        import_model(load_pt2(path))
    assert not folder.exists()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_guards_extra_files_and_names_of_types_are_left_behind(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ran"
    code = f"__import__('os').mkdir({str(folder)!r})"

    def change(document: Any) -> None:
        document["guards_code"] = [code]
        document["verifiers"] = ["../../x"]
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [code]
        signature["in_spec"] = code
        nodes(document)[0]["metadata"] = {"source_fn_stack": f"a,{code}", "custom": code}

    edited = rewrite(saved, tmp_path / "a.pt2", edit_json("models/model.json", change))
    program = load_pt2(edited)
    equal(import_model(program), import_model(load_pt2(saved)))
    assert program._guards_code == []
    assert not folder.exists()


def test_the_bomb_works_where_it_is_not_defused(tmp_path: Path, saved: Path) -> None:
    """Otherwise the tests above would prove nothing."""
    folder = tmp_path / "ran"
    path = rewrite(saved, tmp_path / "bomb.pt2", bombs(folder)["pickled weight"])
    with quiet(), pytest.raises(Exception, match=r".*"):
        torch.export.load(path)
    assert folder.exists()


def test_a_legacy_archive_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.20")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(FileFormatError, match="older layout"):
        load_pt2(path)
    assert not (tmp_path / "ran").exists()


def test_a_state_dict_is_not_an_exported_program(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt2")
    with pytest.raises(FileFormatError, match=r"data\.pkl"):
        load_pt2(tmp_path / "weights.pt2")


def test_zip_bombs_are_refused(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "z.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/models/model.json", b" " * (1 << 20))
    with pytest.raises(FileFormatError, match="compressed"):
        load_pt2(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/models/model.json", b"{}")
    with pytest.raises(FileFormatError, match="compressed"):
        load_pt2(path)

    def huge(document: Any) -> None:
        meta = document["config"]["fc.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": 1 << 20}, {"as_int": 1 << 10}]
        meta["strides"] = [{"as_int": 0}, {"as_int": 0}]

    record = "data/weights/model_weights_config.json"
    path = rewrite(saved, tmp_path / "h.pt2", edit_json(record, huge))
    with pytest.raises(FileFormatError, match=r"fc\.weight has fewer numbers"):
        load_pt2(path)


def test_operators_of_others_are_unsupported_by_name(saved: Path, tmp_path: Path) -> None:
    change = edit_json(
        "models/model.json", lambda d: nodes(d)[0].update(target="torch.ops.mylib.thing.default")
    )
    with pytest.raises(UnsupportedError, match=r"torch\.ops\.mylib\.thing\.default; edgernn reads"):
        load_pt2(rewrite(saved, tmp_path / "o.pt2", change))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 100, b"\0" * 5000])
def test_what_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"damaged or not a \.pt2"):
        load_pt2(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"cannot read .*nothing\.pt2"):
        load_pt2(tmp_path / "nothing.pt2")


def one_sentence(error: EdgernnError) -> None:
    assert "\n" not in str(error)


def attempt(path: Path, expected: Graph) -> bool:
    """Whether it loads; if so, the graph is the same, and if not, the error is one sentence."""
    try:
        graph = import_model(load_pt2(path))
    except EdgernnError as error:
        one_sentence(error)
        return False
    equal(graph, expected)
    return True


def test_truncated_and_flipped_files_load_equal_or_are_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    expected = import_model(load_pt2(saved))
    rng = random.Random(0)
    path = tmp_path / "damaged.pt2"
    for _ in range(60):
        data = bytearray(content)
        for _ in range(rng.choice([1, 1, 4])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        attempt(path, expected)
    for length in [rng.randrange(len(content)) for _ in range(30)]:
        path.write_bytes(content[:length])
        assert not attempt(path, expected)


def test_json_changed_at_random_never_ends_in_a_traceback(saved: Path, tmp_path: Path) -> None:
    """The checksum of the zip is right here: the document itself is wrong."""
    rng = random.Random(1)
    values: list[Any] = [None, -1, 1 << 70, "x", "__import__('os')", [], {}, True, [[]], 1.5]

    def spoil(document: Any) -> None:
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            child = place[key]
            if not isinstance(child, (dict, list)) or not child or rng.random() < 0.1:
                place[key] = rng.choice(values)
                return
            place = child

    refused = 0
    for record in ("models/model.json", "data/weights/model_weights_config.json"):
        for i in range(40):
            path = rewrite(saved, tmp_path / f"{i}.pt2", edit_json(record, spoil))
            try:
                import_model(load_pt2(path))
            except EdgernnError as error:
                one_sentence(error)
                refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s38', positive=True, integer=True)",
        "Mul(Integer(7), Symbol('s38', positive=True, integer=True))",
        "Eq(Symbol('u0', integer=True), Integer(1))",
        "7*s0 + s1//2 - 1",
    ],
)
def test_size_expressions_of_torch_pass(text: str) -> None:
    assert pt2_json.expression(text).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')", "s0.__class__", "(lambda: 1)()", "Symbol(Symbol('s0'))",
        "Symbol('os')", "open('x')", "exec('x')", "[s0 for s0 in s1]", "s0 if s1 else s0",
        "s0**s0**s0", "Symbol", "Symbol('s0', commutative=print)", "f'{s0}'", "os", "1e9", "(",
        "Integer('9**9')", "Mul(*s0)", "-" * 5000 + "1", "9" * 30, None, 3, ["s0"],
        "Add(print)(s0)", "Symbol('s0')('x')", "Integer(Symbol)",
        "exit(3)",
        "input()",
        "getattr(s0, s1)",
    ],
)  # fmt: skip
def test_other_expressions_do_not(text: Any) -> None:
    with pytest.raises(pt2_json.Malformed):
        pt2_json.expression(text)
