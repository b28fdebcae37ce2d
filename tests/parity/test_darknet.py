"""Darknet's YOLOs: layer by layer the official files, and the numbers that OpenCV computes from ours."""

import re

import numpy as np
import pytest
import torch

from gazehound.catalog import find
from gazehound.checkpoints.darknet import ORDERS, cfg_of, export_darknet, import_darknet
from gazehound.checkpoints.darknet_cfg import describe, parse_cfg
from gazehound.checkpoints.darknet_layers import layers_of
from gazehound.checkpoints.darknet_weights import WeightsHeader, count_of, read_weights, to_bytes
from gazehound.checkpoints.importing import import_file
from gazehound.checkpoints.rebuild import build
from gazehound.cli import export_work
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

cv2 = pytest.importorskip("cv2")
EIGHTY = Classes(tuple(f"class {i}" for i in range(80)))
TWO = Classes(("cat", "dog"))
SIDE = 96


def residuals(count, squeeze, expand, act=""):
    return f"c{squeeze}/1{act} c{expand}/3{act} + " * count


def csp(channels, count):
    half = channels // 2
    return (
        f"c{channels}/3s2m c{half}/1m r-2 c{half}/1m {residuals(count, half, half, 'm')}"
        f"c{half}/1m r-1,-{3 * count + 4} c{channels}/1m "
    )


def alternate(channels, count):
    return f"c{channels}/1 c{2 * channels}/3 " * (count // 2) + f"c{channels}/1 " * (count % 2)


def one_shot(channels):
    half = channels // 2
    return f"c{channels}/3 g-1 c{half}/3 c{half}/3 r-1,-2 c{channels}/1 r-6,-1 p2s2 "


# The official cfg files, told in one letter per kind: c convolution (m: Mish, l: linear without norm,
# else leaky), + shortcut from -3, r route, g route of the second half of the channels, p max pooling,
# u upsampling, y yolo with its mask. Numbers of layers as in the files.
DARKNET_53 = "c32/3 " + "".join(
    f"c{c}/3s2 " + residuals(n, c // 2, c)
    for c, n in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
)
FINER = (
    "c255/1l y678 r-4 c256/1 u r-1,61 " + alternate(256, 6) + "c255/1l y345 r-4 c128/1 u r-1,36 "
    + alternate(128, 6) + "c255/1l y012"
)  # fmt: skip
SPP = "p5s1 r-2 p9s1 r-4 p13s1 r-1,-3,-5,-6 "
OFFICIAL = {
    "yolov3": DARKNET_53 + alternate(512, 6) + FINER,
    "yolov3_spp": DARKNET_53 + alternate(512, 3) + SPP + alternate(512, 4) + FINER,
    "yolov3_tiny": (
        "c16/3 p2s2 c32/3 p2s2 c64/3 p2s2 c128/3 p2s2 c256/3 p2s2 c512/3 p2s1 c1024/3 c256/1 c512/3 "
        "c255/1l y345 r-4 c128/1 u r-1,8 c256/3 c255/1l y012"
    ),
    "yolov4": (
        "c32/3m c64/3s2m c64/1m r-2 c64/1m " + residuals(1, 32, 64, "m") + "c64/1m r-1,-7 c64/1m "
        + csp(128, 2) + csp(256, 8) + csp(512, 8) + csp(1024, 4)
        + alternate(512, 3) + SPP + alternate(512, 3)
        + "c256/1 u r85 c256/1 r-1,-3 " + alternate(256, 5)
        + "c128/1 u r54 c128/1 r-1,-3 " + alternate(128, 6) + "c255/1l y012 "
        + "r-4 c256/3s2 r-1,-16 " + alternate(256, 6) + "c255/1l y345 "
        + "r-4 c512/3s2 r-1,-37 " + alternate(512, 6) + "c255/1l y678"
    ),
    "yolov4_tiny": (
        "c32/3s2 c64/3s2 " + one_shot(64) + one_shot(128) + one_shot(256)
        + "c512/3 c256/1 c512/3 c255/1l y345 r-4 c128/1 u r-1,23 c256/3 c255/1l y123"
    ),
}  # fmt: skip
COUNTS = {  # weights, numbers in the file, convolutions
    "yolov3": (61_949_149, 62_001_757, 75),
    "yolov3_spp": (62_998_749, 63_052_381, 76),
    "yolov3_tiny": (8_852_366, 8_858_734, 13),
    "yolov4": (64_363_101, 64_429_405, 110),
    "yolov4_tiny": (6_056_606, 6_062_814, 21),
}


def told(sections):
    """Tell our layers in the same letters, with all numbers of layers absolute."""
    words = []
    for index, section in enumerate(sections):
        is_ = describe(section, index)
        match section.kind:
            case "convolutional":
                act = {"leaky": "", "mish": "m", "linear": "l"}[is_["activation"]]
                assert is_["batch_normalize"] is (act != "l")
                assert is_["padding"] == is_["size"] // 2
                stride = "s2" if is_["stride"] == 2 else ""
                words.append(f"c{is_['filters']:g}/{is_['size']:g}{stride}{act}")
            case "shortcut":
                words.append(f"+{is_['from'][0]}")
            case "route":
                second = is_["groups"] == 2 and is_["group_id"] == 1
                words.append(("g" if second else "r") + ",".join(map(str, is_["layers"])))
            case "maxpool":
                words.append(f"p{is_['size']:g}s{is_['stride']:g}")
            case "upsample":
                words.append("u")
            case "yolo":
                words.append("y" + "".join(f"{m:g}" for m in is_["mask"]))
    return words


def absolute(words):
    """Make the official files' relative numbers of layers absolute."""

    def place(index):
        return lambda m: str(int(m[0]) + index if int(m[0]) < 0 else int(m[0]))

    return [
        f"+{index - 3}" if word == "+"
        else re.sub(r"-?\d+", place(index), word) if word[0] in "rg" else word
        for index, word in enumerate(words)
    ]  # fmt: skip


def skeleton(name, **options):
    with torch.device("meta"):
        return find(name).resolve()(EIGHTY, **options)


@pytest.mark.parametrize("name", ORDERS)
def test_layers_are_those_of_the_official_file(name):
    assert told(layers_of(skeleton(name)).sections) == absolute(OFFICIAL[name].split())


@pytest.mark.parametrize("name", ORDERS)
def test_numbers_of_weights_are_the_published_ones(name):
    detector = skeleton(name)
    convolutions = layers_of(detector).convolutions
    weights = sum(p.numel() for p in detector.parameters())
    assert (weights, count_of(convolutions), len(convolutions)) == COUNTS[name]


def lively(detector, seed=0):
    """Random weights with moved statistics, and numbers of spread 1 at every map."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in detector.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.3, generator=generator)
        elif name.endswith("running_var"):
            # Darknet adds 1e-5 to the variance and OpenCV 1e-6: at 10, both are far under the tolerance.
            tensor.uniform_(8, 12, generator=generator)
        elif name.endswith("norm.weight"):
            tensor.uniform_(2.8, 3.5, generator=generator)
    noise = torch.rand(1, 3, SIDE, SIDE, generator=generator)
    with torch.inference_mode():
        maps = detector.neck(detector.backbone(noise))
        for x, widen, numbers in zip(maps, detector.head.widen, detector.head.numbers, strict=True):
            numbers.weight.normal_(0, 0.02, generator=generator)
            numbers.bias.zero_()
            numbers.weight.mul_(1 / numbers(widen(x)).std())
            numbers.bias.normal_(0, 0.5, generator=generator)
    return detector


def by_opencv(detector, images, folder):
    """Return the rows (centre and size relative to the input, objectness, scores) of all maps."""
    # OpenCV drops scores under `thresh`; that option is its own.
    cfg = cfg_of(detector, SIDE).replace("[yolo]", "[yolo]\nthresh=0")
    (folder / "net.cfg").write_text(cfg)
    weights = to_bytes(layers_of(detector).convolutions, WeightsHeader())
    (folder / "net.weights").write_bytes(weights)
    network = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    network.setInput(images.numpy())
    maps = network.forward(network.getUnconnectedOutLayersNames())
    return np.concatenate(sorted(maps, key=len, reverse=True))  # finest map first


def by_us(detector, images):
    with torch.inference_mode():
        outputs = detector(images)
        x1, y1, x2, y2 = (detector.coder.decode(outputs.boxes, outputs.cells)[0] / SIDE).unbind(1)
        objectness = torch.sigmoid(outputs.objectness[0])
        scores = objectness[:, None] * torch.sigmoid(outputs.logits[0])
    box = torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, objectness), 1)
    return torch.cat((box, scores), 1).numpy()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("yolov3", {"width": 0.25}),
        ("yolov3_spp", {"width": 0.25}),
        ("yolov3_tiny", {}),
        ("yolov4", {"width": 0.25}),
        ("yolov4_tiny", {}),
        pytest.param("yolov3", {}, marks=pytest.mark.slow),
        pytest.param("yolov4", {}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "whole" if not value else "narrow",
)
def test_opencv_computes_the_same(name, options, tmp_path):
    torch.manual_seed(0)
    detector = lively(find(name).resolve()(EIGHTY, **options).eval())
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    wanted, got = by_opencv(detector, images, tmp_path), by_us(detector, images)
    assert wanted.shape == got.shape
    assert wanted[:, 4:].std() > 0.1  # the oracle is alive
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def exported(name, folder, classes=TWO, seed=0, **arguments):
    torch.manual_seed(seed)
    detector, header = build(name, classes, arguments)
    return lively(detector.eval()), header, export_darknet(detector, header, folder / name)


def test_exported_files_come_back_bit_for_bit(tmp_path):
    detector, header, (weights, cfg, names) = exported("yolov4_tiny", tmp_path)
    assert names.read_text() == "cat\ndog\n"
    again, header = import_darknet(weights, None, TWO, cfg)
    assert header.detector == "yolov4_tiny"
    wanted = detector.state_dict()
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, wanted[key]) or key.endswith("num_batches_tracked")
    files = export_darknet(again, header, tmp_path / "again")
    assert files[0].read_bytes() == weights.read_bytes()
    assert files[1].read_text().splitlines()[4:] == cfg.read_text().splitlines()[4:]


def run(*arguments):
    """Run the command line; return what it says."""
    from typer.testing import CliRunner

    from gazehound.cli.app import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_file_header_survives_the_commands_and_a_native_checkpoint(tmp_path):
    _, _, (weights, cfg, names) = exported("yolov4_tiny", tmp_path)
    body = weights.read_bytes()[20:]
    for header in (WeightsHeader((0, 1, 0), 77), WeightsHeader((0, 2, 5), 2**40)):
        weights.write_bytes(header.to_bytes() + body)
        assert read_weights(weights)[0] == header
        names.write_text("cat\ndog\n")
        native = str(tmp_path / "m.safetensors")
        run(
            "import", weights, "--source", "darknet", "--cfg", cfg, "--classes", names, "-o", native
        )
        out = tmp_path / "out.weights"
        assert "out.names" in run("export", native, "--format", "darknet", "-o", out)
        assert out.read_bytes() == weights.read_bytes()
    with pytest.raises(ConfigError, match="unknown format 'darknett'; did you mean darknet"):
        export_work.run(export_work.Options(native, "darknett", out))


def test_own_anchors_masks_and_classes_come_from_the_cfg(tmp_path):
    anchors = [[5.0, 6.0], [11.0, 12.0], [20.0, 40.0], [33.0, 30.0], [60.0, 70.0], [90.5, 99.0]]
    masks = [[0, 1, 2], [3, 4, 5]]
    own = {"anchors": anchors, "masks": masks, "scales": [1.1, 1.2]}
    _, _, (weights, cfg, _) = exported("yolov4_tiny", tmp_path, **own)
    detector, _ = import_darknet(weights, None, None, cfg)
    assert detector.classes.names == ("class 0", "class 1")
    assert detector.cells.anchors == tuple(map(tuple, anchors))
    assert detector.cells.masks == ((0, 1, 2), (3, 4, 5))
    assert detector.coder.scales == (1.1, 1.2)
    assert (detector.preprocess.resize, detector.preprocess.size) == ("stretch", 416)


def test_known_by_its_name_alone(tmp_path):
    _, _, (weights, _, _) = exported("yolov4_tiny", tmp_path)
    for name in ("yolov4-tiny_best.weights", "YOLOv4-tiny.weights"):
        file = weights.rename(tmp_path / name)
        weights = file
        detector, header = import_darknet(file)
        assert (header.detector, len(detector.classes)) == ("yolov4_tiny", 2)
    with pytest.raises(CheckpointError, match="which does not come out: give --cfg"):
        import_darknet(file, "yolov3-tiny")
    with pytest.raises(ConfigError, match="does not say its architecture"):
        import_darknet(weights.rename(tmp_path / "cells.weights"))


def test_the_beginning_of_a_network(tmp_path):
    """``darknet53.conv.74`` and the like: what training on own data starts from."""
    with torch.device("meta"):
        layers = layers_of(find("yolov3").resolve()(TWO))
    assert (len(layers.before(74)), count_of(layers.before(74))) == (52, 40_620_640)
    detector, _, (weights, _, _) = exported("yolov4_tiny", tmp_path)
    wanted = layers_of(detector).before(29)
    start = tmp_path / "yolov4-tiny.conv.29"
    start.write_bytes(weights.read_bytes()[: 20 + 4 * count_of(wanted)])
    again, _ = import_darknet(start, None, TWO)
    got = layers_of(again).before(29)
    assert len(wanted) == len(got) == 17
    for one, other in zip(wanted, got, strict=True):
        assert torch.equal(one.conv.weight, other.conv.weight)
    start.write_bytes(start.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"holds [\d,]+ numbers; this architecture has"):
        import_darknet(start, None, TWO)


def test_eighty_classes_are_coco(tmp_path):
    _, _, (weights, _, _) = exported("yolov4_tiny", tmp_path, EIGHTY)
    detector, _ = import_darknet(weights)
    assert (detector.classes.names[79], detector.classes.ids[79]) == ("toothbrush", 90)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("filters=512\nsize=3\nstride=1\npad=1\nactivation=leaky",
         "filters=512\nsize=3\nstride=1\npad=1\nactivation=swish",
         r"layer 26 differs: line \d+: \[convolutional\]: expected activation=leaky; got swish"),
        ("[upsample]", "[deconvolutional]", "layer 33 differs: .* expected .upsample.; got "
         ".deconvolutional. .of a kind that is not known here."),
        ("size=2\nstride=2", "size=3\nstride=2", r"layer 9 differs: .*expected size=2; got 3"),
        ("groups=2\ngroup_id=1", "groups=2\ngroup_id=0", "layer 3 differs: .*group_id=1; got 0"),
        ("scale_x_y=1.05", "scale_x_y=2\nnew_coords=1",
         r"layer 30 differs: .*\[yolo\]: expected new_coords=0; got 1"),
    ],
)  # fmt: skip
def test_another_architecture_is_refused_with_its_first_layer_that_differs(
    tmp_path, old, new, message
):
    text = cfg_of(find("yolov4_tiny").resolve()(TWO, width=1 / 16))
    text = re.sub(r"filters=(?!21)(\d+)", lambda m: f"filters={int(m[1]) * 16}", text)
    assert old in text
    (tmp_path / "other.cfg").write_text(text.replace(old, new, 1))
    (tmp_path / "other.weights").write_bytes(bytes(20))
    with pytest.raises(CheckpointError, match=f"nearest is yolov4_tiny: {message}"):
        import_darknet(tmp_path / "other.weights", None, TWO, tmp_path / "other.cfg")


def test_mistakes_are_one_line(tmp_path):
    _, _, (weights, cfg, _) = exported("yolov4_tiny", tmp_path)
    model = "yolov4-tiny"
    with pytest.raises(ConfigError, match="the file has 2 classes; got 1 class names"):
        import_darknet(weights, model, Classes(("cat",)), cfg)
    with pytest.raises(CheckpointError, match="not yolov4: layer 0 differs"):
        import_darknet(weights, "yolov4", TWO, cfg)
    with pytest.raises(ConfigError, match="unknown model of Darknet 'yolov9'"):
        import_darknet(weights, "yolov9", TWO, cfg)
    with pytest.raises(ConfigError, match="--cfg goes with --source darknet"):
        import_file(weights, "torchvision", "ssd300", cfg=cfg)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    with pytest.raises(CheckpointError, match=r"holds [\d,]+ numbers; this architecture has"):
        import_darknet(weights, model, TWO, cfg)
    weights.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        import_darknet(weights, model, TWO, cfg)
    weights.write_bytes(whole[:10])
    with pytest.raises(CheckpointError, match="too few for its header"):
        import_darknet(weights, model, TWO, cfg)
    with pytest.raises(CheckpointError, match="cannot be read"):
        import_darknet(tmp_path / "nowhere.weights", model, TWO, cfg)
    detector, header = build("ssdlite320", TWO)
    with pytest.raises(ConfigError, match="Darknet's format holds"):
        export_darknet(detector, header, tmp_path / "x")


def test_cfg_files_with_comments_and_mistakes():
    sections = parse_cfg("# hello\n[net]\nwidth = 416 ; wide\n\n[Convolutional]\nsize=3\n", "a.cfg")
    assert [s.kind for s in sections] == ["net", "convolutional"]
    assert sections[0].options == {"width": "416"}
    for text, message in (
        ("[net]\nwidth 416", r"a.cfg:2: expected \[section\] or key = value; got 'width 416'"),
        ("width=1", "a.cfg:1: expected"),
        ("[route]\nlayers=1", "begins with"),
    ):
        with pytest.raises(CheckpointError, match=message):
            parse_cfg(text, "a.cfg")
