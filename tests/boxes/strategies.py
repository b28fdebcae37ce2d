"""Boxes for the property tests: many ties, touching edges, containment, tiny and empty boxes."""

import numpy as np
from hypothesis import strategies as st

COARSE = st.integers(0, 24).map(lambda k: k / 2)


@st.composite
def boxes(draw, least=0, most=12, dtype=np.float32):
    """(N, 4) ``xyxy`` on a coarse lattice, some of them without area."""
    count = draw(st.integers(least, most))
    corners = [
        (*low, low[0] + size[0], low[1] + size[1])
        for low, size in (
            (draw(st.tuples(COARSE, COARSE)), draw(st.tuples(COARSE, COARSE))) for _ in range(count)
        )
    ]
    return np.asarray(corners, dtype).reshape(-1, 4)


SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0])
THRESHOLDS = st.sampled_from(
    [0.0, 1e-7, 0.05, 0.2, 0.25, 0.3, 1 / 3, 0.45, 0.5, 0.6, 2 / 3, 0.75, 0.9, 1.0]
)


def random_boxes(count, seed=0, kind="sparse"):
    """(N, 4) float32 boxes and (N,) scores, for the larger comparisons."""
    rng = np.random.default_rng(seed)
    if kind == "sparse":
        centre = rng.uniform(0, 1, (count, 2)) * [1333, 800]
        size = np.exp(rng.uniform(np.log(2), np.log(300), (count, 2)))
    else:  # clusters, as a detector gives them
        groups = max(1, count // 40)
        g = rng.integers(0, groups, count)
        sizes = np.exp(rng.uniform(np.log(16), np.log(400), (groups, 2)))
        middle = rng.uniform(0, 1, (groups, 2)) * [1333, 800]
        centre = middle[g] + rng.normal(0, 0.12, (count, 2)) * sizes[g]
        size = sizes[g] * np.exp(rng.normal(0, 0.15, (count, 2)))
    corners = np.concatenate([centre - size / 2, centre + size / 2], 1).astype(np.float32)
    return corners, rng.random(count).astype(np.float32).round(3)
