"""Space before a camera: inverses, and KITTI's own labels as witnesses."""

import numpy as np
import pytest

from gazehound.boxes.camera import corners, heading, locations, project, unproject

PROJECTION = np.array(
    [[707.0493, 0, 604.0814, 45.75831], [0, 707.0493, 180.5066, -0.3454157], [0, 0, 1, 0.004981016]]
)


def test_unproject_undoes_project():
    generator = np.random.default_rng(0)
    points = generator.uniform((-20, -2, 3), (20, 3, 80), (50, 3))
    image = project(points, PROJECTION)
    assert np.allclose(unproject(image, points[:, 2], PROJECTION), points, atol=1e-9)


def test_corners_stand_on_the_location():
    place, size = np.array([[1.0, 2.0, 10.0]]), np.array([[1.5, 1.6, 4.0]])
    box = corners(place, size, np.array([0.0]))[0]
    assert box.max(axis=0) == pytest.approx([1 + 2, 2, 10 + 0.8])
    assert box.min(axis=0) == pytest.approx([1 - 2, 0.5, 10 - 0.8])
    turned = corners(place, size, np.array([np.pi / 2]))[0]  # the length points away from x
    assert turned.max(axis=0) == pytest.approx([1 + 0.8, 2, 10 + 2])


def kitti(folder):
    for name in ("000000", "000001", "000002"):
        lines = (folder / f"calib/{name}.txt").read_text().splitlines()
        row = next(line for line in lines if line.startswith("P2:"))
        projection = np.array(row.split()[1:], float).reshape(3, 4)
        for line in (folder / f"label_2/{name}.txt").read_text().splitlines():
            kind, *numbers = line.split()
            if kind != "DontCare":
                yield projection, np.array(numbers, float)[None]


def test_kittis_labels_agree(real_data):
    """The projected corners frame the box, and the other numbers follow from each other."""
    count = 0
    for projection, row in kitti(real_data / "kitti-mini/training"):
        box, size, place = row[:, 3:7], row[:, 7:10], row[:, 10:13]
        framed = project(corners(place, size, row[:, 13]), projection)[0]
        assert np.abs(np.r_[framed.min(axis=0), framed.max(axis=0)] - box[0]).max() < 12
        middle = (box[:, 0] + box[:, 2]) / 2
        assert heading(row[:, 2], middle, projection) == pytest.approx(row[:, 13], abs=0.06)
        found = locations(box, place[:, 2], size, projection)
        assert np.abs(found - place).max() < 0.03 * place[0, 2] + 0.1
        count += 1
    assert count >= 6
