"""Samples are balanced, fair, and a function of seed and content alone."""

import pytest
import torch

from gazehound.errors import ConfigError
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.samplers import BalancedSampler, draw_of, random_keys


def match_of(state):
    state = torch.as_tensor(state, dtype=torch.int8)
    return Assignment(torch.zeros_like(state, dtype=torch.long), state, torch.zeros(state.shape))


def random_match(positives, negatives, ignored, seed=0):
    parts = ((positives, State.POSITIVE), (negatives, State.NEGATIVE), (ignored, State.IGNORED))
    states = torch.cat([torch.full((n,), int(s)) for n, s in parts])
    return match_of(
        states[torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))][None]
    )


@pytest.mark.parametrize(
    ("positives", "negatives", "ignored", "wanted"),
    [
        (300, 900, 50, (128, 128)),  # enough of both
        (10, 900, 50, (10, 246)),  # negatives fill up
        (0, 900, 0, (0, 256)),
        (900, 20, 0, (128, 20)),  # positives never fill up
        (0, 0, 40, (0, 0)),
        (3, 4, 0, (3, 4)),  # fewer candidates than the sample
    ],
)
def test_counts(positives, negatives, ignored, wanted):
    match = random_match(positives, negatives, ignored)
    drawn = BalancedSampler(256, 0.5)(match, torch.tensor([7]))
    assert drawn.index.shape == (1, min(256, positives + negatives + ignored))
    states = drawn.rows(match.state)[drawn.valid]
    assert (int((states == State.POSITIVE).sum()), int((states == State.NEGATIVE).sum())) == wanted
    assert torch.equal(drawn.positive[drawn.valid], states == State.POSITIVE)
    assert not drawn.positive[~drawn.valid].any()
    rows = drawn.index[drawn.valid]
    assert len(rows.unique()) == len(rows)  # without replacement
    assert torch.equal(drawn.positive.int().sort(descending=True).values, drawn.positive.int())


def test_every_candidate_has_the_same_chance():
    match = match_of([[1] * 20 + [0] * 60] * 1000)
    drawn = BalancedSampler(20, 0.5)(match, torch.arange(1000) * 977)
    times = torch.zeros(80).index_add(
        0, drawn.index[drawn.valid], torch.ones(int(drawn.valid.sum()))
    )
    assert (
        times[:20] / 1000 - 0.5
    ).abs().max() < 0.07  # 10 of 20; six standard deviations are 0.095
    assert (times[20:] / 1000 - 1 / 6).abs().max() < 0.07


def test_a_sample_depends_on_seed_and_draw_and_on_nothing_else():
    match, draw = random_match(200, 2000, 9), torch.tensor([5])
    one = BalancedSampler(64, 0.5, seed=1)(match, draw)
    torch.manual_seed(99)
    torch.rand(3)
    again = BalancedSampler(64, 0.5, seed=1)(match, draw)
    assert torch.equal(one.index, again.index)
    for other in (
        BalancedSampler(64, 0.5, seed=2)(match, draw),
        BalancedSampler(64, 0.5, seed=1)(match, draw + 1),
    ):
        assert len(set(one.index[0].tolist()) & set(other.index[0].tolist())) < 32
    beside = match_of(torch.cat([random_match(9, 2200, 0).state, match.state]))
    drawn = BalancedSampler(64, 0.5, seed=1)(beside, torch.tensor([3, 5]))
    assert torch.equal(drawn.index[1], one.index[0])  # the neighbour in the batch has no say


def test_draws_differ_with_what_was_computed():
    values = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    moved = values.clone()
    moved[1, 7, 2] += 1e-3
    a, b = draw_of(values), draw_of(moved)
    assert (a == b).tolist() == [True, False, True]
    assert len(a.unique()) == 3


def test_keys_spread_over_their_whole_range():
    keys = random_keys(torch.arange(4), 20_000)
    assert keys.min() >= 0
    assert keys.max() < 2**32
    counts = torch.histc((keys.double() / 2**32).float(), 16, 0, 1)
    assert (counts / keys.numel() * 16 - 1).abs().max() < 0.06
    assert len(keys.unique()) > 0.999 * keys.numel()
    low = (keys & 1).double().mean(dim=1)
    assert (low - 0.5).abs().max() < 0.02


def test_errors_name_what_came():
    with pytest.raises(ConfigError, match=r"a share in 0\.\.1; got 10 and 1\.5"):
        BalancedSampler(10, 1.5)
