"""Imported classical detectors, written to the native file and read back, find the same boxes."""

import numpy as np
import pytest

from gazehound.checkpoints.importing import import_file
from gazehound.checkpoints.rebuild import load, save
from gazehound.errors import ConfigError

cv2 = pytest.importorskip("cv2")


def picture():
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut())


def same_after_saving(file, source, tmp_path, images, **options):
    detector, header = import_file(file, source, **options)
    save(tmp_path / "m.safetensors", detector, header)
    again, _ = load(tmp_path / "m.safetensors")
    for wanted, got in zip(detector.predict(images), again.predict(images), strict=True):
        assert np.array_equal(wanted.boxes, got.boxes)
        assert np.array_equal(wanted.scores, got.scores)
    return detector.predict(images)


def test_opencv_cascade(tmp_path):
    from pathlib import Path

    file = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
    found = same_after_saving(file, "opencv-cascade", tmp_path, [picture()], names=("face",))
    assert len(found[0]) == 1
    assert found[0].names == ["face"]


def test_opencv_people_detector(tmp_path):
    np.save(tmp_path / "people.npy", cv2.HOGDescriptor_getDefaultPeopleDetector())
    same_after_saving(tmp_path / "people.npy", "opencv-hog", tmp_path, [picture()])


def test_voc_dpm(tmp_path, real_data):
    file = sorted((real_data / "voc-dpm").glob("*car*.mat"))[0]
    image = picture()[::2, ::2]
    same_after_saving(file, "voc-dpm", tmp_path, [np.ascontiguousarray(image)])


def test_sources_by_name(tmp_path):
    with pytest.raises(
        ConfigError, match="unknown source of weights 'torchvison'; did you mean torchvision"
    ):
        import_file(tmp_path / "x", "torchvison")
    with pytest.raises(ConfigError, match="--source torchvision needs --model: retinanet_r50"):
        import_file(tmp_path / "x", "torchvision")
