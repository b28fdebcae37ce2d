"""A short lesson for a network, as tests give it: the same few images until it knows them."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm


def learn(network, images, targets, steps, rate):
    """Train on one batch, warmed up and cooled down; return the losses of each step."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses = network.losses(network(images), targets)
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    settle(network, images, targets)
    return history


def settle(network, images, targets):
    """Measure the running statistics of every BatchNorm anew, on this batch and these weights.

    Momentum 0.03, as some detectors have it, makes them an average over some hundred steps: a short
    lesson would be examined with the statistics of its beginning.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    network.train()
    with torch.no_grad():
        network.losses(network(images), targets)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
