"""Remembered proposals: one question per picture, mirror images included; files."""

import numpy as np
import pytest

from gazehound.errors import ConfigError, DataError
from gazehound.features.proposal_store import ProposalStore


class Counting:
    """Proposes a box around the brightest pixel, and counts its questions."""

    def __init__(self):
        self.asked = 0

    def propose(self, image, limit=2000):
        self.asked += 1
        y, x = np.unravel_index(image.sum(2).argmax(), image.shape[:2])
        return np.array([[x, y, x + 1, y + 1]] * 3, np.float32)[:limit]


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def test_a_picture_is_asked_about_once():
    asked = Counting()
    store = ProposalStore(asked)
    first = store.propose(picture())
    first[:] = -1  # a caller may do what it likes with its boxes
    assert np.array_equal(store.propose(picture()), asked.propose(picture()))
    assert asked.asked == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_mirror_image_is_known(seed):
    asked = Counting()
    store = ProposalStore(asked)
    for image in (picture(seed), picture(seed)[:, ::-1]):
        assert np.array_equal(store.propose(image), Counting().propose(image))
    assert asked.asked == 1


def test_the_oldest_is_forgotten():
    asked = Counting()
    store = ProposalStore(asked, kept=2)
    for seed in (0, 1, 0, 2, 0, 1):
        store.propose(picture(seed))
    assert len(store) == 2
    assert asked.asked == 4


def test_a_file_gives_back_what_was_known(tmp_path):
    store = ProposalStore(Counting())
    for seed in range(3):
        store.propose(picture(seed))
    store.add(picture(7), np.zeros((0, 4)))
    store.add(picture(8)[:, ::-1], [[1, 2, 3, 4]])
    store.save(tmp_path / "boxes.npz")
    again = ProposalStore(file=tmp_path / "boxes.npz")
    for seed in (0, 1, 2, 7):
        assert np.array_equal(again.propose(picture(seed)), store.propose(picture(seed)))
    assert again.propose(picture(8)).tolist() == [[10, 2, 12, 4]]
    assert len(again.propose(picture(1), 2)) == 2


def test_a_picture_that_is_not_in_the_file(tmp_path):
    ProposalStore(Counting()).save(tmp_path / "none.npz")
    with pytest.raises(DataError, match="holds no proposals for this picture of 13 x 9 pixels"):
        ProposalStore(file=tmp_path / "none.npz").propose(picture())
    asked = Counting()
    ProposalStore(asked, tmp_path / "none.npz").propose(picture())
    assert asked.asked == 1


def test_wrong_files(tmp_path):
    with pytest.raises(DataError, match="not a file of proposals"):
        ProposalStore(file=tmp_path / "absent.npz").propose(picture())
    np.savez(tmp_path / "other.npz", keys=np.zeros(3))
    with pytest.raises(DataError, match="not a file of proposals"):
        ProposalStore(file=tmp_path / "other.npz").propose(picture())
    np.savez(
        tmp_path / "cut.npz",
        keys=np.zeros((2, 16), np.uint8),
        starts=np.array([0, 1, 5]),
        boxes=np.zeros((3, 4)),
    )
    with pytest.raises(DataError, match="2 pictures, 2 lists of boxes and 3 boxes do not belong"):
        ProposalStore(file=tmp_path / "cut.npz").propose(picture())


def test_a_store_needs_a_source():
    with pytest.raises(ConfigError, match="needs a proposer or a file"):
        ProposalStore()
    with pytest.raises(ConfigError, match="kept must be at least 1"):
        ProposalStore(Counting(), kept=0)
