"""Exported files find what their checkpoint finds, on every runtime; a file that does not is not left."""

import dataclasses
import json
import sys

import jaxtyping
import numpy as np
import pytest
import torch

import gazehound
from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build
from gazehound.cli import main
from gazehound.errors import CheckpointError, ConfigError, ExportError, MissingDependency
from gazehound.export import onnx_graph, write
from gazehound.export.evidence import Evidence
from gazehound.export.graph import Plan, Traced, trace
from gazehound.export.onnx_graph import annotate
from gazehound.export.proof import compare
from gazehound.export.runners import load_exported
from gazehound.export.write import Order, export
from gazehound.model import Model
from gazehound.records import Classes, Sample

CLASSES = Classes(("ant", "bee", "cat"), (7, 3, 90))
LIMITS = {"score": 0.2, "per_image": 30}


@pytest.fixture(scope="module", autouse=True)
def unchecked_shapes():
    """Sizes are symbols while a graph is recorded, and symbols are no ``int`` to a type checker."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def tiny(name, **preprocess):
    """Build a small detector whose scores are spread between 0 and 1, as trained ones are."""
    torch.manual_seed(0)
    detector, header = build(name, CLASSES, {**find(name).tiny, "limits": LIMITS}, preprocess)
    for module in detector.modules():
        bias = getattr(module, "bias", None)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # takes its statistics from the next batch
        # The prior of a class or objectness branch.
        elif isinstance(module, torch.nn.Conv2d) and bias is not None and bias.mean().item() < -1:
            torch.nn.init.normal_(module.weight, std=0.3)
            torch.nn.init.zeros_(bias)
    with torch.no_grad():
        detector.train()(detector.preprocess.batch([*pictures(8), *pictures(8, (200, 110))]).images)
    return Model(detector.eval(), header)


def pictures(count=3, size=(90, 120)):
    generator = np.random.default_rng(5)
    small = generator.integers(0, 256, (count, size[0] // 10, size[1] // 10, 3), dtype=np.uint8)
    return list(small.repeat(10, 1).repeat(10, 2))


def evidence(images):
    return Evidence([Sample.of(image) for image in images], "a few", False)


def same(native, exported, images):
    """Compare strictly, in one batch: a graph must not know how many images it gets."""
    wanted, got = native.detector.predict(images), exported.detector.predict(images)
    total = 0
    for left, right in zip(wanted, got, strict=True):
        result = compare(left, right, {"score": LIMITS["score"], "iou": 0.65, "per_image": 30}, "")
        assert not result.differences
        assert result.ties <= 2
        assert result.box < 0.05
        assert result.score < 1e-3
        total += result.pairs
    assert total > 10
    assert got[0].classes == CLASSES


@pytest.fixture(scope="module")
def yolox():
    return tiny("yolox_nano", size=96)


@pytest.fixture(scope="module")
def recorded():
    """Record and convert each plan of the small YOLOX once; every format then writes its own file."""
    patch = pytest.MonkeyPatch()
    traced: dict[tuple[int, Plan], Traced] = {}
    models: dict[int, bytes] = {}

    def trace_once(network, plan):
        key = id(network), plan
        if key not in traced:
            traced[key] = trace(network, plan)
        return traced[key]

    def convert_once(one):
        if id(one) not in models:
            models[id(one)] = onnx_of(one).SerializeToString()
        return onnx.load_from_string(models[id(one)])

    onnx = pytest.importorskip("onnx")
    onnx_of = onnx_graph.onnx_of
    patch.setattr(write, "trace", trace_once)
    patch.setattr(onnx_graph, "onnx_of", convert_once)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def whole_onnx(yolox, recorded, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "yolox.onnx"
    order = Order("onnx", file, Plan(nms=True, preprocessing=True))
    files, proof = export(yolox.detector, yolox.header, order, evidence(pictures()))
    assert files == (file,)
    assert proof.detections > 10
    return file


def test_onnx_with_everything_inside(yolox, whole_onnx):
    model = gazehound.load(whole_onnx)
    same(yolox, model, pictures())
    same(yolox, model, pictures(2, (200, 110)))  # of another size, and another number
    same(yolox, model, [*pictures(1), *pictures(2, (50, 80))])
    passport = model.detector.passport
    assert (passport.nms, passport.preprocessing, passport.shape) == ("inside", True, (96, 96))
    assert model.name == "yolox_nano"
    assert model.header.classes == CLASSES
    assert passport.licence == {"code": "Apache-2.0", "weights": "not stated"}


def test_an_exported_file_only_predicts(whole_onnx, tmp_path):
    model = gazehound.load(whole_onnx)
    for forbidden in (
        lambda: model.save(tmp_path / "m.safetensors"),
        lambda: model.fit("shapes"),
        lambda: model.export(tmp_path / "m.onnx"),
        lambda: model.to("cuda"),
    ):
        with pytest.raises(ConfigError, match=r"an exported file|exported files run on the CPU"):
            forbidden()


def test_the_command_line_takes_it_like_a_checkpoint(whole_onnx, tmp_path, monkeypatch, capsys):
    from PIL import Image

    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    monkeypatch.setattr(
        "sys.argv",
        ["gazehound", "predict", str(whole_onnx), str(tmp_path / "a.png"), "--format", "coco",
         "--out", str(tmp_path / "out")],
    )  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    rows = json.loads(next((tmp_path / "out").rglob("*.json")).read_text())
    rows = rows if isinstance(rows, list) else rows["annotations"]
    assert rows
    assert {row["category_id"] for row in rows} <= set(CLASSES.ids)


def test_openvino(yolox, recorded, tmp_path):
    order = Order("openvino", tmp_path / "yolox.xml", Plan(nms=True))
    files, _ = export(yolox.detector, yolox.header, order, evidence(pictures()))
    assert sorted(file.name for file in files) == ["yolox.bin", "yolox.xml"]
    model = gazehound.load(tmp_path / "yolox.xml")
    passport = model.detector.passport
    assert (passport.nms, passport.preprocessing, passport.format) == ("inside", False, "openvino")
    same(yolox, model, pictures())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["yolox.bin", "yolox.xml"]


def test_torch_export_with_nms_outside(yolox, recorded, tmp_path):
    order = Order("torch-export", tmp_path / "yolox.pt2")
    export(yolox.detector, yolox.header, order, evidence(pictures()))
    model = gazehound.load(tmp_path / "yolox.pt2")
    assert model.detector.passport.nms == "outside"
    same(yolox, model, pictures())


def test_torch_export_of_inputs_of_any_size(tmp_path):
    native = tiny("centernet_r18", resize="longer", size=128)
    order = Order("torch-export", tmp_path / "points.pt2", Plan(nms=True))
    export(native.detector, native.header, order, evidence(pictures()))
    model = gazehound.load(tmp_path / "points.pt2")
    assert model.detector.passport.nms == "none"
    same(native, model, pictures())
    same(native, model, pictures(2, (60, 200)))


@pytest.mark.slow
def test_two_stages_in_onnx(tmp_path):
    native = tiny("faster_rcnn_r50", resize="longer", size=128, square=True)
    order = Order("onnx", tmp_path / "two.onnx", Plan(nms=True))
    export(native.detector, native.header, order, evidence(pictures()))
    model = gazehound.load(tmp_path / "two.onnx")
    same(native, model, pictures())
    same(native, model, pictures(2, (60, 200)))


def test_int8_says_what_it_costs(yolox, recorded, tmp_path):
    order = Order("onnx", tmp_path / "small.onnx", Plan(nms=True), calibration=pictures(4))
    _, proof = export(yolox.detector, yolox.header, order, evidence(pictures()))
    assert proof.box > 0
    model = gazehound.load(tmp_path / "small.onnx")
    assert model.detector.passport.int8
    with pytest.raises(ConfigError, match="needs truths"):
        export(
            yolox.detector,
            yolox.header,
            dataclasses.replace(order, max_loss=0.0),
            evidence(pictures()),
        )


class Moved:
    """An exported file that moves every box by three pixels."""

    def __init__(self, native):
        self.native = native

    def predict(self, images, *, score=None):
        return [
            dataclasses.replace(found, boxes=found.boxes + np.float32(3))
            for found in self.native.predict(images)
        ]


@pytest.fixture
def quick(yolox, monkeypatch):
    """Everything but the graph: what would be written is one byte."""
    monkeypatch.setattr(
        write, "trace", lambda *a: Traced(None, ("boxes", "scores", "labels"), "inside", None)
    )
    monkeypatch.setitem(write._WRITERS, "onnx", lambda t, p, draft, o: draft.write_bytes(b"!"))
    monkeypatch.setattr(write, "load_exported", lambda file: (Moved(yolox.detector), yolox.header))


def test_a_file_that_finds_something_else_is_not_left(yolox, quick, tmp_path):
    order = Order("onnx", tmp_path / "wrong.onnx")
    with pytest.raises(ExportError, match=r"something else: picture \d: detection \d+ \("):
        export(yolox.detector, yolox.header, order, evidence(pictures()))
    assert list(tmp_path.iterdir()) == []


def test_a_good_file_of_that_name_stays(yolox, quick, tmp_path):
    (tmp_path / "wrong.onnx").write_bytes(b"good")
    with pytest.raises(ExportError):
        export(
            yolox.detector,
            yolox.header,
            Order("onnx", tmp_path / "wrong.onnx"),
            evidence(pictures()),
        )
    assert (tmp_path / "wrong.onnx").read_bytes() == b"good"


def test_a_folder_that_cannot_be_written_is_one_line(yolox, quick, tmp_path):
    (tmp_path / "file").write_text("")
    order = Order("onnx", tmp_path / "file" / "m.onnx")
    with pytest.raises(ExportError, match="cannot be written"):
        export(yolox.detector, yolox.header, order, evidence(pictures()))


def test_the_network_is_as_before(yolox, recorded):
    limits, training = yolox.detector.limits, yolox.detector.training
    assert write.trace(yolox.detector, Plan()).nms == "outside"
    assert yolox.detector.limits == limits
    assert yolox.detector.training == training


def lines(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["gazehound", "export", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_bad_input_is_one_line(yolox, tmp_path, monkeypatch, capsys):
    native = yolox.save(tmp_path / "m.safetensors")
    tell = [monkeypatch, capsys]
    assert "did you mean onnx" in lines(*tell, native, "--format", "onx")
    assert "ends in .onnx" in lines(*tell, native, "--format", "onnx", "-o", tmp_path / "m.xml")
    assert "go together" in lines(*tell, native, "--format", "onnx", "--int8")
    assert "--max-loss belongs" in lines(*tell, native, "--format", "onnx", "--max-loss", "0.1")
    assert "classical detector" in lines(
        *tell, "viola-jones-face", "--format", "onnx", "-o", tmp_path / "v.onnx"
    )
    assert "take no preprocessing" in lines(*tell, native, "--format", "darknet", "--nms")
    missing = tmp_path / "none.safetensors"
    assert "none.safetensors" in lines(*tell, missing, "--format", "onnx")


def test_a_missing_package_names_the_extra(yolox, recorded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependency, match=r"pip install 'gazehound\[export\]'"):
        export(
            yolox.detector,
            yolox.header,
            Order("onnx", tmp_path / "m.onnx", Plan(nms=True)),
            evidence([]),
        )
    assert list(tmp_path.iterdir()) == []


def test_foreign_files_are_told_apart(tmp_path):
    helper = pytest.importorskip("onnx.helper")
    import onnx

    value = [helper.make_tensor_value_info(name, 1, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(CheckpointError, match="was not written by `gazehound export`"):
        load_exported(tmp_path / "foreign.onnx")
    annotate(model, {"export": "{", "format": "gazehound"})
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(CheckpointError, match=r"damaged|version"):
        load_exported(tmp_path / "damaged.onnx")
    for name in ("a.onnx", "a.xml", "a.pt2"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(CheckpointError, match=f"{name}: cannot be opened"):
            load_exported(tmp_path / name)
    with pytest.raises(CheckpointError, match="no such file"):
        load_exported(tmp_path / "none.onnx")
