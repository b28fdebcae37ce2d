"""Faster R-CNN against torchvision's, with the same random weights and the same photographs."""

import json

import numpy as np
import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from gazehound.checkpoints.torchvision_faster_rcnn import import_faster_rcnn
from gazehound.data.batching import pad_targets
from gazehound.data.images import read_image
from gazehound.errors import CheckpointError, ConfigError
from gazehound.nn import pooling, samplers
from gazehound.nn.proposals import ProposalLimits
from gazehound.nn.samplers import BalancedSampler
from gazehound.records import Classes

BUILDERS = {
    "faster_rcnn_r50": detection.fasterrcnn_resnet50_fpn,
    "faster_rcnn_r50_v2": detection.fasterrcnn_resnet50_fpn_v2,
    "faster_rcnn_mobilenet": detection.fasterrcnn_mobilenet_v3_large_fpn,
    "faster_rcnn_mobilenet_320": detection.fasterrcnn_mobilenet_v3_large_320_fpn,
}
CLASSES = Classes(tuple(f"c{i}" for i in range(7)))
FEW, LEARN, REGIONS = 60, 120, 48  # proposals at prediction and in training, regions that learn
SMALL = {
    "min_size": 160,
    "max_size": 224,
    "rpn_pre_nms_top_n_test": 100,
    "rpn_post_nms_top_n_test": FEW,
    "rpn_pre_nms_top_n_train": 100,
    "rpn_post_nms_top_n_train": LEARN,
    "box_batch_size_per_image": REGIONS,
}


def lively(model, seed=0):
    """Random weights that detect something: moved statistics, spread logits and boxes, no ties."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2, generator=generator)
    model.eval()
    noise = torch.rand(1, 3, 128, 160, generator=generator) * 4 - 2
    with torch.no_grad():
        maps = model.backbone(noise)
        objectness, deltas = model.rpn.head(list(maps.values()))
        head, box = model.rpn.head, model.roi_heads
        head.cls_logits.weight.mul_(1.5 / objectness[0].std())
        head.bbox_pred.weight.mul_(0.3 / deltas[0].std())
        boxes = torch.rand(20, 4, generator=generator) * 60
        boxes[:, 2:] += boxes[:, :2] + 8
        features = box.box_head(box.box_roi_pool(maps, [boxes], [(128, 160)]))
        logits, moves = box.box_predictor(features)
        box.box_predictor.cls_score.weight.mul_(1.5 / logits.std())
        box.box_predictor.bbox_pred.weight.mul_(0.5 / moves.std())
    return model


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def pair(request):
    torch.manual_seed(0)
    own = {} if "v3" not in BUILDERS[request.param].__name__ else {"rpn_score_thresh": 0.05}
    theirs = BUILDERS[request.param](
        weights=None, weights_backbone=None, num_classes=len(CLASSES) + 1, **SMALL, **own
    )
    theirs = lively(theirs)
    ours, _ = import_faster_rcnn(theirs.state_dict(), request.param, CLASSES)
    ours.preprocess = ours.preprocess.changed({"size": 160, "largest": 224})
    score = 0.05 if own else 0.0
    ours.rpn.limits = ProposalLimits(100, FEW, score=score)
    ours.rpn.learning_limits = ProposalLimits(100, LEARN, score=score)
    ours.region.sample = BalancedSampler(REGIONS, 0.25)
    return theirs, ours.eval()


@pytest.fixture(scope="module")
def photographs(real_data):
    listing = json.loads((real_data / "coco-tiny/annotations/instances_val2017.json").read_bytes())
    names = [row["file_name"] for row in listing["images"][:2]]
    return [read_image(real_data / "coco-tiny/val2017" / name) for name in names]


@torch.inference_mode()
def test_detections_on_photographs_are_equal(pair, photographs):
    theirs, ours = pair
    tensors = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in photographs]
    wanted, found = theirs(tensors), ours.predict(photographs)  # padded together
    for theirs_one, ours_one in zip(wanted, found, strict=True):
        assert len(ours_one) == len(theirs_one["boxes"]) > 10
        assert np.abs(ours_one.scores - theirs_one["scores"].numpy()).max() <= 1e-4
        same_order = ours_one.labels == theirs_one["labels"].numpy() - 1
        boxes = np.abs(ours_one.boxes - theirs_one["boxes"].numpy()).max(axis=1)
        # Two scores closer than float noise may change places; nothing else may differ.
        assert (boxes[same_order] <= 0.05).mean() > 0.97
        assert same_order.mean() > 0.97


@torch.inference_mode()
def test_proposals_on_photographs_are_equal(pair, photographs):
    theirs, ours = pair
    batch = ours.preprocess.batch(photographs)
    shapes = [tuple(int(side) for side in size) for size in batch.sizes]
    wanted, _ = theirs.rpn(ImageList(batch.images, shapes), theirs.backbone(batch.images))
    outputs = ours(batch.images)
    got = ours.rpn.propose(outputs.first, batch.sizes)
    for image, boxes in enumerate(wanted):
        assert int(got.valid[image].sum()) == len(boxes) > 5
        difference = (got.boxes[image][got.valid[image]] - boxes).abs().amax(dim=1)
        assert (difference <= 0.05).float().mean() > 0.97


class First:
    """Torchvision's sampler, but it takes the first candidates instead of random ones."""

    def __init__(self, size, share):
        self.size, self.most = size, int(size * share)

    def __call__(self, labels):
        masks = ([], [])
        for row in labels:
            positive, negative = torch.where(row >= 1)[0][: self.most], torch.where(row == 0)[0]
            for kind, chosen in zip(
                masks, (positive, negative[: self.size - len(positive)]), strict=True
            ):
                kind.append(torch.zeros(len(row), dtype=torch.bool).index_fill(0, chosen, 1))
        return masks


def test_one_training_step_has_the_same_losses_and_gradients(pair, photographs, monkeypatch):
    theirs, ours = pair
    # BatchNorm over few regions makes 1e-6 of another order of summing 1e-2 of the gradient; the
    # kernel of RoIAlign has a test of its own
    monkeypatch.setattr(pooling, "_fits_kernel", lambda features: False)
    monkeypatch.setattr(theirs.rpn, "fg_bg_sampler", First(256, 0.5))
    monkeypatch.setattr(theirs.roi_heads, "fg_bg_sampler", First(REGIONS, 0.25))
    monkeypatch.setattr(
        samplers,
        "random_keys",
        lambda draw, length, seed: (length - torch.arange(length)).expand(len(draw), -1),
    )
    crops = [image[40:168, 60:220] for image in photographs]
    images = torch.stack(
        [ours.preprocess.normalise(torch.from_numpy(c).permute(2, 0, 1)) for c in crops]
    )
    boxes = [
        torch.tensor([[10.0, 20, 90, 120], [60, 30, 150, 100]]),
        torch.tensor([[5.0, 5, 45, 50]]),
    ]
    labels = [torch.tensor([0, 3]), torch.tensor([6])]
    targets = [{"boxes": b, "labels": n + 1} for b, n in zip(boxes, labels, strict=True)]
    try:
        theirs.train(), ours.train()
        maps = theirs.backbone(images)
        proposals, wanted = theirs.rpn(ImageList(images, [(128, 160)] * 2), maps, targets)
        _, second = theirs.roi_heads(maps, proposals, [(128, 160)] * 2, targets)
        wanted = {**wanted, **second}
        got = ours.losses(ours(images), pad_targets(boxes, labels))
    finally:
        theirs.eval(), ours.eval()
    names = {
        "objectness": "loss_objectness",
        "proposal_box": "loss_rpn_box_reg",
        "class": "loss_classifier",
        "box": "loss_box_reg",
    }
    for ours_name, theirs_name in names.items():
        assert float(got[ours_name].detach()) == pytest.approx(
            float(wanted[theirs_name].detach()), rel=1e-4
        )
    assert float(wanted["loss_box_reg"].detach()) > 0
    sum(got.values()).backward()
    sum(wanted.values()).backward()
    for mine, other in (
        (ours.rpn.head.box_deltas.weight, theirs.rpn.head.bbox_pred.weight),
        (ours.neck.output[0].conv.weight, theirs.backbone.fpn.layer_blocks[0][0].weight),
    ):
        assert (mine.grad - other.grad).abs().max() <= 1e-3 * other.grad.abs().max()
    ours.zero_grad(set_to_none=True), theirs.zero_grad(set_to_none=True)


def meta_state(builder, **options):
    with torch.device("meta"):
        return builder(weights=None, weights_backbone=None, **options).state_dict()


def empty_state(builder, **options):
    return {
        k: torch.zeros(v.shape, dtype=v.dtype) for k, v in meta_state(builder, **options).items()
    }


def test_classes_of_coco_keep_their_ids_and_the_background_goes_last():
    state = empty_state(detection.fasterrcnn_mobilenet_v3_large_fpn)
    state["roi_heads.box_predictor.cls_score.bias"] = torch.arange(91.0)
    state["roi_heads.box_predictor.bbox_pred.bias"] = torch.arange(364.0)
    ours, header = import_faster_rcnn(state, "faster_rcnn_mobilenet")
    assert (header.classes.names[0], header.classes.ids[0]) == ("person", 1)
    assert (header.classes.names[-1], header.classes.ids[-1]) == ("toothbrush", 90)
    predictor = ours.region.predictor
    assert predictor.class_logits.bias.tolist() == [*range(1, 91), 0]
    assert predictor.box_deltas.bias.tolist() == list(range(4, 364))


def test_frozen_norms_of_the_first_coco_weights_get_epsilon_zero():
    state = empty_state(detection.fasterrcnn_resnet50_fpn, num_classes=3)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    # as such old files have them
    state = {
        k.replace("_blocks.0.0.", "_blocks.0.").replace("rpn.head.conv.0.0.", "rpn.head.conv."): v
        for k, v in state.items()
    }
    ours, header = import_faster_rcnn(state, "faster_rcnn_r50")
    assert header.arguments["norm_eps"] == 0.0
    assert ours.backbone.body.bn1.eps == 0.0
    assert header.classes.names == ("class 0", "class 1")


def test_a_wrong_model_or_class_count_is_one_line():
    state = empty_state(detection.fasterrcnn_mobilenet_v3_large_fpn, num_classes=3)
    with pytest.raises(ConfigError, match="2 classes beside the background; got 7 class names"):
        import_faster_rcnn(state, "faster_rcnn_mobilenet", CLASSES)
    with pytest.raises(CheckpointError, match="do not fit the architecture, the first is"):
        import_faster_rcnn(state, "faster_rcnn_r50")
    with pytest.raises(CheckpointError, match="no tensor 'roi_heads"):
        import_faster_rcnn({"a": torch.zeros(1)}, "faster_rcnn_r50")
