"""What learns, how fast, and what norms do: stages, unfreezing, discriminative learning rates."""

from types import SimpleNamespace

import pytest
import torch

from gazehound.checkpoints.rebuild import build
from gazehound.errors import ConfigError
from gazehound.records import Classes
from gazehound.training.freezing import Freezing
from gazehound.training.recipe import make_recipe
from gazehound.training.schedules import make_optimizer, parameter_groups
from gazehound.training.stages import backbone_stages, depth_of_parameters
from gazehound.training.tune import Tune


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    return build("retinanet_r18", Classes(("a", "b")), {"backbone": "resnet10t", "channels": 16})[0]


@pytest.fixture
def network(built):
    for parameter in built.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    return built.train()


def recipe(**values):
    return make_recipe({"model": "m", "data": "d", **values})


def learning(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_a_resnet_has_five_stages_which_hold_each_weight_once(network):
    stages = backbone_stages(network)
    assert len(stages) == 5
    flat = [name for stage in stages for name in stage]
    assert sorted(flat) == sorted(
        n for n, _ in network.named_parameters() if n.startswith("backbone.")
    )
    assert all(".bn1." in name or ".conv1." in name for name in stages[0])
    assert all(".layer4." in name for name in stages[4])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssd300", "yolov3", "yolox_nano"])
def test_other_backbones_have_stages_too(name):
    with torch.device("meta"):
        detector, _ = build(name, Classes(("a",)), {})
    stages = backbone_stages(detector)
    assert len(stages) >= 3
    flat = [n for stage in stages for n in stage]
    assert sorted(flat) == sorted(
        n for n, _ in detector.named_parameters() if n.startswith("backbone.")
    )


def test_frozen_stages_get_no_gradient_and_their_norms_keep_still(network):
    freezing = Freezing(network, Tune(freeze=2))
    held = {name for stage in backbone_stages(network)[:2] for name in stage}
    assert learning(network) == {n for n, _ in network.named_parameters()} - held
    freezing.on_train_batch_start(None, None, None, 0)
    norms = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    for name, norm in norms.items():
        assert norm.training == (f"{name}.weight" not in held), name


@pytest.mark.parametrize(("policy", "moving"), [("live", "all"), ("frozen", "none")])
def test_policies_of_batch_norm(network, policy, moving):
    freezing = Freezing(network, Tune(freeze="backbone", norm=policy))
    freezing.hold_norms()
    norms = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert {m.training for m in norms.values()} == {moving == "all"}
    if moving == "none":
        assert not any(f"{name}.weight" in freezing.learnable for name in norms)


def test_stages_are_let_go_by_epoch_from_the_top(network):
    freezing = Freezing(network, Tune(freeze="backbone", unfreeze_every=2))
    task = SimpleNamespace(summary={})
    frozen = []
    for epoch in range(12):
        freezing.on_train_epoch_end(SimpleNamespace(current_epoch=epoch), task)
        frozen.append(freezing.frozen)
        freezing.hold_norms()
    assert frozen == [5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0, 0]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(norm.training for norm in norms)  # no evaluation needed to set them to work again
    assert learning(network) == {n for n, _ in network.named_parameters()}


def test_stages_are_let_go_when_the_score_stops_rising_and_a_resumed_run_knows(network):
    freezing = Freezing(network, Tune(freeze=3, unfreeze_patience=2))
    trainer = SimpleNamespace(current_epoch=0)
    counts = []
    for score in (0.1, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3):
        freezing.on_train_epoch_end(trainer, SimpleNamespace(summary={"AP": score}))
        counts.append(freezing.frozen)
    assert counts == [3, 3, 3, 2, 2, 2, 1]
    state = freezing.state_dict()
    before = learning(network)
    again = Freezing(network, Tune(freeze=3, unfreeze_patience=2))
    assert learning(network) != before
    again.load_state_dict(state)
    assert learning(network) == before


def test_rates_fall_by_a_factor_per_stage_and_zero_leaves_the_backbone_alone(network):
    depth = depth_of_parameters(network)
    groups = parameter_groups(network, recipe(tune={"lr_decay": 0.5}), 1.0)
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert rate_of[id(parameter)] == 0.5 ** depth[name], name
    assert {depth[n] for n in depth if n.startswith("head.")} == {0}
    assert {depth[n] for n in depth if ".layer1." in n} == {4}

    still = recipe(tune={"lr_decay": 0.0}, weight_decay=0.1)
    optimizer = make_optimizer(parameter_groups(network, still, 1.0), still)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("backbone."), name
    network.load_state_dict({**network.state_dict(), **before})


def test_without_tuning_the_groups_are_backbone_and_rest(network):
    groups = parameter_groups(network, recipe(backbone_lr=0.1), 2.0)
    assert [group["lr"] for group in groups] == [2.0, 2.0, 0.2, 0.2]
    assert [group["weight_decay"] > 0 for group in groups] == [False, True, False, True]
    chosen = parameter_groups(network, recipe(), 1.0, {"head.class_logits.bias"})
    assert [len(group["params"]) for group in chosen] == [1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freeze": -1}, "tune.freeze must be 0 or more"),
        ({"lr_decay": 1.5}, r"tune.lr_decay must lie in 0..1; got 1.5"),
        ({"unfreeze_every": 1, "unfreeze_patience": 1}, "not by both"),
        ({"norm": "dead"}, "tune.norm: input should be 'follow'"),
    ],
)
def test_wrong_settings_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        recipe(tune=values)


def test_more_stages_than_there_are(network):
    with pytest.raises(ConfigError, match=r"tune\.freeze is 9, but the backbone has 5 stages"):
        Freezing(network, Tune(freeze=9))
