"""Models of voc-release5: the import, and the detections of the official code.

The numbers were recorded with the official sources (rbgirshick/voc-dpm, run by GNU Octave 7, its
mex files compiled by mkoctfile): ``imgdetect`` at ``model.thresh``, then, as its ``process.m``,
``clipboxes``, ``bboxpred_get``, ``clipboxes`` and ``nms(0.5)``. Its boxes are one-based and include
their last pixel, so x1 and y1 are one larger than here.
"""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from gazehound.checkpoints.voc_dpm import import_voc_dpm
from gazehound.detectors.dpm import score_of
from gazehound.errors import CheckpointError
from gazehound.features.part_boxes import filter_boxes

RECORDED = {
    # class, image: detections before suppression, sum of their scores, the best predicted boxes
    ("car", "000034"): (576, -596.6624, [
        [6.582, 291.278, 153.747, 380.311, -0.059],
        [118.17, 280.295, 414.715, 390.653, -0.744],
        [280.495, 333.46, 461.519, 444.046, -0.879],
    ], 15),
    ("person", "000034"): (757, -945.5455, [
        [570.694, 276.701, 639.245, 477.415, -0.195],
        [1.943, 118.899, 53.998, 312.438, -0.721],
        [1.0, 353.372, 39.998, 441.181, -0.83],
    ], 22),
    ("person", "000061"): (740, -915.8555, [
        [218.932, 171.687, 269.165, 304.753, -0.352],
        [448.944, 163.112, 496.66, 245.923, -0.616],
        [434.463, 118.072, 551.05, 331.086, -0.642],
    ], 18),
}  # fmt: skip

PARTS_OF_THE_BEST_CAR = [  # the root, then eight parts
    [1.0, 292.52, 154.34, 377.26], [9.57, 335.39, 60.02, 385.84], [103.89, 292.52, 154.34, 342.97],
    [52.45, 292.52, 102.89, 342.97], [18.15, 283.95, 68.59, 334.39], [103.89, 292.52, 154.34, 342.97],
    [121.04, 326.82, 171.48, 377.26], [69.59, 326.82, 120.04, 377.26], [103.89, 292.52, 154.34, 342.97],
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(real_data):
    return real_data / "voc-dpm"


def picture(folder, name):
    return np.array(Image.open(folder / f"{name}.jpg"))


@pytest.mark.parametrize(("name", "image"), RECORDED)
def test_detections_are_the_official_ones(folder, name, image):
    count, total, best, kept = RECORDED[name, image]
    detector = import_voc_dpm(folder / f"{name}_final.mat")
    pixels, model = picture(folder, image), detector.models[0]
    _, found = detector.place(pixels, model, model.threshold)
    assert len(found) == count
    assert found.scores.sum(dtype=float) == pytest.approx(total, abs=2e-3)
    (detections,) = detector.predict([pixels])
    assert len(detections) == kept
    want = np.array(best) - [1, 1, 0, 0, 0]
    np.testing.assert_allclose(detections.boxes[:3], want[:, :4], atol=1e-3)
    np.testing.assert_allclose(detections.scores[:3], score_of(want[:, 4]), atol=6e-4)


def test_parts_stand_where_the_official_ones_do(folder):
    detector = import_voc_dpm(folder / "car_final.mat")
    model = detector.models[0]
    pyramid, found = detector.place(picture(folder, "000034"), model, -0.5)
    boxes = filter_boxes(model.mixture, pyramid, found)[0]
    np.testing.assert_allclose(boxes, np.array(PARTS_OF_THE_BEST_CAR) - [1, 1, 0, 0], atol=6e-3)


def test_models_are_mirrored_mixtures(folder):
    for name, threshold in (("person", -1.4424), ("car", -1.2396), ("bicycle", -0.9949)):
        model = import_voc_dpm(folder / f"{name}_final.mat").models[0]
        assert model.threshold == pytest.approx(threshold, abs=1e-4)
        assert len(model.mixture.components) == 6
        assert model.regression.coefficients.shape == (6, 4, 19)
        for one, other in zip(
            model.mixture.components[::2], model.mixture.components[1::2], strict=True
        ):
            mirrored = one.mirrored()
            assert one.parts.shape == (8, 6, 6, 32)
            for field in ("root", "parts", "anchors", "deformations"):
                np.testing.assert_array_equal(getattr(mirrored, field), getattr(other, field))
            assert one.bias == other.bias


def test_the_person_of_the_street_is_seen(folder):
    detector = import_voc_dpm(folder / "person_final.mat")
    (found,) = detector.predict([picture(folder, "000034")], score=0.27)
    assert len(found) == 1
    assert found.names == ["person"]


def test_foreign_files_are_refused(tmp_path):
    missing = tmp_path / "none.mat"
    with pytest.raises(CheckpointError, match="cannot be read"):
        import_voc_dpm(missing)
    text = tmp_path / "text.mat"
    text.write_text("not a model")
    with pytest.raises(CheckpointError, match="not a MATLAB 5 file, or damaged"):
        import_voc_dpm(text)
    other = tmp_path / "other.mat"
    scipy.io.savemat(other, {"x": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"without model\.class: not voc-release5"):
        import_voc_dpm(other)


def test_truncated_models_and_other_grammars_are_refused(folder, tmp_path):
    whole = (folder / "car_final.mat").read_bytes()
    short = tmp_path / "short.mat"
    short.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"short\.mat"):
        import_voc_dpm(short)
    content = scipy.io.loadmat(folder / "car_final.mat", squeeze_me=True, struct_as_record=False)
    model = content["model"]
    model.rules[int(model.start) - 1][0].shiftwindow = np.array([1, 0])
    changed = tmp_path / "changed.mat"
    scipy.io.savemat(changed, {"model": model})
    with pytest.raises(CheckpointError, match="not a star-structured mixture"):
        import_voc_dpm(changed)
