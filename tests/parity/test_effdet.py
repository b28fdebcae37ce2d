"""EfficientDet against efficientdet-pytorch, with the same random weights."""

import pytest
import torch

from gazehound.checkpoints.effdet import import_effdet
from gazehound.checkpoints.importing import import_file
from gazehound.data.batching import pad_targets
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

effdet = pytest.importorskip("effdet")

SEVEN = Classes(tuple(f"c{i}" for i in range(7)))
SIZES = {"d0": 256, "d1": 128, "d2": 128, "d3": 128}
NAMES = ["tf_efficientdet_d0", "efficientdet_d0", "tf_efficientdet_d1", "tf_efficientdet_d2",
         "tf_efficientdet_d3"]  # fmt: skip


def theirs_of(name, seed=0):
    """Random weights and moved statistics, weights of sums that differ, class logits that spread."""
    torch.manual_seed(seed)
    config = effdet.get_efficientdet_config(name)
    size = SIZES[name[-2:]]
    config.image_size = (size, size)
    config.num_classes = 7
    model = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif key.endswith("running_var"):
            tensor.uniform_(0.8, 1.2, generator=generator)
        elif key.endswith("edge_weights"):
            tensor.uniform_(-0.2, 1.5, generator=generator)
    return model


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    theirs = theirs_of(request.param)
    name = request.param.removeprefix("tf_")
    ours, header = import_effdet(theirs.state_dict(), name, SEVEN)
    assert header.arguments == ({"tensorflow": True} if request.param != name else {})
    return theirs, ours.eval()


def flat(levels, columns):
    """Their maps (B, A * C, H, W) per level as one table of rows."""
    rows = [m.permute(0, 2, 3, 1).reshape(len(m), -1, columns) for m in levels]
    return torch.cat(rows, dim=1)


@torch.inference_mode()
def test_raw_outputs_are_equal(pair):
    theirs, ours = pair
    size = theirs.config.image_size[0]
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    logits, deltas = theirs(images)
    dense = ours(images)
    assert (flat(logits, 7) - dense.logits).abs().max() <= 1e-4
    assert (flat(deltas, 4)[..., [1, 0, 3, 2]] - dense.deltas).abs().max() <= 1e-4
    anchors = effdet.anchors.Anchors.from_config(theirs.config).boxes
    assert torch.allclose(anchors[:, [1, 0, 3, 2]], dense.anchors, atol=1e-4)
    assert dense.logits.std() > 1e-3


@pytest.fixture(scope="module")
def first_pair():
    theirs = theirs_of("efficientdet_d0", seed=3)
    ours, _ = import_effdet(theirs.state_dict(), "efficientdet_d0", SEVEN)
    return theirs, ours.eval()


@torch.inference_mode()
def test_detections_are_equal(first_pair):
    theirs, ours = first_pair
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    ours.limits = type(ours.limits)(score=0.0, per_level=5000)
    wanted = effdet.DetBenchPredict(theirs)(
        images, {"img_scale": torch.ones(1), "img_size": torch.tensor([[256.0, 256.0]])}
    )[0]
    found = ours.decode(ours(images), torch.tensor([[256.0, 256.0]]))
    assert int(found.valid.sum()) == len(wanted) == 100
    assert torch.allclose(found.scores[0], wanted[:, 4], atol=1e-5)
    same = (found.labels[0] + 1) == wanted[:, 5]
    assert same.float().mean() > 0.95  # scores closer than float noise may change places
    close = (found.boxes[0] - wanted[:, :4]).abs().max(dim=1).values <= 0.05
    assert close[same].float().mean() > 0.95


@torch.no_grad()
def test_losses_are_equal(first_pair):
    """Truths that lie apart: where they compete for an anchor, the assignment rules differ."""
    theirs, ours = first_pair
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(4))
    boxes = [
        torch.tensor([[10.0, 20, 90, 120], [150, 30, 240, 200]]),
        torch.tensor([[5.0, 5, 60, 90]]),
    ]
    labels = [torch.tensor([0, 3]), torch.tensor([6])]
    labeler = effdet.anchors.AnchorLabeler(
        effdet.anchors.Anchors.from_config(theirs.config), 7, match_threshold=0.5
    )
    targets = labeler.batch_label_anchors(
        [b[:, [1, 0, 3, 2]] for b in boxes], [k + 1 for k in labels]
    )
    _, wanted_class, wanted_box = effdet.loss.DetectionLoss(theirs.config)(
        *theirs(images), *targets
    )
    got = ours.losses(ours(images), pad_targets(boxes, labels))
    assert float(got["class"]) == pytest.approx(float(wanted_class), rel=1e-4)
    assert float(got["box"]) == pytest.approx(50 * float(wanted_box), rel=1e-4)


def test_what_does_not_fit_is_told(tmp_path, first_pair):
    theirs, _ = first_pair
    state = theirs.state_dict()
    with pytest.raises(CheckpointError, match="do not fit the architecture"):
        import_effdet(state, "efficientdet_d1", SEVEN)
    with pytest.raises(CheckpointError, match=r"1 keys are not known, the first is 'fpn.strange'"):
        import_effdet({**state, "fpn.strange": torch.zeros(1)}, "efficientdet_d0", SEVEN)
    with pytest.raises(ConfigError, match="7 class outputs; got 1"):
        import_effdet(state, "efficientdet_d0", Classes(("a",)))
    with pytest.raises(ConfigError, match="unknown model of effdet 'efficientdet_d9'"):
        import_effdet(state, "efficientdet_d9")
    torch.save(state, tmp_path / "d0.pth")
    with pytest.raises(ConfigError, match="--source effdet needs --model: efficientdet_d0"):
        import_file(tmp_path / "d0.pth", "effdet")
    detector, header = import_file(tmp_path / "d0.pth", "effdet", "efficientdet-d0")
    assert header.classes.names == tuple(f"class {i}" for i in range(7))
    assert header.notes["imported_from"] == "effdet"
    assert detector.preprocess.size == 512
