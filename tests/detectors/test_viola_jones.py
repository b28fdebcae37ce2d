"""The Viola-Jones detector: training, scanning by growing, odd images, saving."""

from pathlib import Path

import numpy as np
import pytest

from gazehound.detectors.detector import Fittable
from gazehound.detectors.viola_jones import ViolaJones, viola_jones, viola_jones_face
from gazehound.errors import CheckpointError, ConfigError, ImageError, TrainingError
from gazehound.features.cascade import Cascade
from gazehound.features.haar import haar_features
from gazehound.features.scanning import scales_of, scan_images, scan_scales
from gazehound.features.stumps import Patches, Stumps
from gazehound.records import Classes

WINDOW = (12, 12)
QUICK = {
    "candidates": 150, "stages": 3, "rounds": 6, "negatives": 200, "false_positives": 0.3,
}  # fmt: skip


def bright_left(rng, count, size=12, contrast=100):
    """Objects: a bright left half, a dark right half, noise."""
    patches = rng.normal(70, 12, (count, size, size))
    patches[:, :, : size // 2] += contrast
    return np.clip(patches, 0, 255).astype(np.uint8)


def clutter(rng, count, size=12):
    coarse = rng.integers(0, 256, (count, 4, 4)).repeat(size // 4, axis=1)
    noise = rng.normal(0, 12, (count, size, size))
    return np.clip(coarse.repeat(size // 4, axis=2) + noise, 0, 255).astype(np.uint8)


def picture(seed, place=(40, 60), side=36):
    """Smooth clutter with one object; returns RGB and its box."""
    rng = np.random.default_rng(seed)
    image = rng.normal(110, 14, (120, 160))
    y, x = place
    image[y : y + side, x : x + side] = (
        bright_left(rng, 1)[0].repeat(side // 12, 0).repeat(side // 12, 1)
    )
    grey = np.clip(image, 0, 255).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1), np.asarray([x, y, x + side, y + side], np.float32)


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    detector = viola_jones(Classes(("edge",)), window=WINDOW, training={**QUICK, "mirror": False})
    detector.fit_patches(bright_left(rng, 150), clutter(rng, 1500), progress=False)
    return detector


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def single_stump():
    """One feature over the whole window: right half less left half."""
    features = haar_features(WINDOW)
    wide = (features.rects[:, 0, 2:] == WINDOW[::-1]).all(axis=1)
    row = np.flatnonzero(wide & (features.weights[:, 1] == 2))[0]
    stumps = Stumps(np.asarray([row]), np.asarray([-0.05], np.float32), np.asarray([[1.0, 0.0]]))
    return Cascade.of_stages(features, [stumps], [0.5])


@pytest.mark.parametrize("scan", ["detector", "image"])
@pytest.mark.parametrize("grouping", ["rectangles", "nms"])
def test_a_trained_cascade_finds_the_object(trained, scan, grouping):
    detector = viola_jones(
        trained.classes, window=WINDOW, scan=scan, grouping=grouping, scale_step=1.2
    )
    detector.load_arrays(trained.arrays())
    image, truth = picture(3)
    found = detector.predict([image])[0]
    assert max((iou(box, truth) for box in found.boxes), default=0) > 0.3
    assert (np.diff(found.scores) <= 0).all()


def test_it_is_fittable(trained):
    assert isinstance(trained, Fittable)


def test_boosting_separates_what_it_never_saw(trained):
    rng = np.random.default_rng(9)
    cascade = trained.cascades[0]
    from gazehound.features.background import passing

    assert passing(cascade, bright_left(rng, 200)).mean() > 0.9
    assert passing(cascade, clutter(rng, 500)).mean() < 0.1


def test_growing_by_whole_factors_is_shrinking_the_enlarged_image():
    """On an image enlarged s times, the detector grown s times answers as it did on the original."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (30, 34), dtype=np.uint8)
    cascade = single_stump()
    plain = scan_scales(cascade, small, np.asarray([1.0], np.float32))
    for factor in (2, 3):
        large = small.repeat(factor, axis=0).repeat(factor, axis=1)
        grown = scan_scales(cascade, large, np.asarray([factor], np.float32))
        np.testing.assert_array_equal(grown.boxes, plain.boxes * factor)
        np.testing.assert_array_equal(grown.response, plain.response)
    assert 0 < len(plain.boxes) < 19 * 23


def test_at_scale_one_both_ways_agree_where_both_look():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (30, 34), dtype=np.uint8)
    cascade, scales = single_stump(), np.asarray([1.0], np.float32)
    every = {tuple(box) for box in scan_scales(cascade, image, scales).boxes}
    coarse = {tuple(box) for box in scan_images(cascade, image, scales).boxes}
    assert coarse
    assert coarse <= every


def test_a_window_s_verdict_is_that_of_its_patch(trained):
    rng = np.random.default_rng(4)
    cascade = trained.cascades[0]
    image = np.concatenate(list(bright_left(rng, 6)) + list(clutter(rng, 6)), axis=1)
    hits = scan_scales(cascade, image, np.asarray([1.0], np.float32))
    found = dict(zip(hits.boxes[:, 0].tolist(), hits.response.tolist(), strict=True))
    patches = np.stack([image[:, x : x + 12] for x in range(image.shape[1] - 11)])
    asked = Patches(patches)
    from gazehound.features.haar import HaarFeatures

    features = HaarFeatures(cascade.window, cascade.rects, cascade.weights, cascade.tilted)
    alive = patches[:, 1:-1, 1:-1].std(axis=(1, 2)) > 10
    total = np.zeros(len(patches))
    for stage, bound in enumerate(cascade.bounds):
        rows = slice(*cascade.stage_first[stage : stage + 2])
        leaves = cascade.leaves.reshape(-1, 2)[rows].astype(float)
        stumps = Stumps(cascade.feature[rows].astype(int), cascade.threshold[rows], leaves)
        total = asked.values(features, stumps).sum(axis=0)
        alive &= total >= bound
    assert sorted(found) == np.flatnonzero(alive).tolist()
    np.testing.assert_allclose([found[x] for x in sorted(found)], total[alive], rtol=1e-6)


def test_a_killed_training_goes_on_to_the_same_cascade(tmp_path):
    rng = np.random.default_rng(5)
    objects, others = bright_left(rng, 120, contrast=25), clutter(rng, 1500)
    rules = {**QUICK, "boosting": "discrete", "false_positives": 0.6}
    options = {"window": WINDOW, "training": rules}

    class Killed(Exception):
        pass

    def train(state, kill_after=None):
        detector = viola_jones(Classes(("edge",)), **options)
        calls = []

        def report(line):
            calls.append(line)
            if kill_after and len(calls) == kill_after:
                raise Killed

        detector.fit_patches(objects, others, state=state, progress=False, report=report)
        return detector.arrays()

    whole = train(None)
    for kill_after in (1, 2):
        state = tmp_path / f"state{kill_after}.npz"
        with pytest.raises(Killed):
            train(state, kill_after)
        resumed = train(state)
        for name, array in whole.items():
            np.testing.assert_array_equal(resumed[name], array, err_msg=name)


def test_a_training_killed_inside_a_stage_goes_on_to_the_same_cascade(tmp_path, monkeypatch):
    from gazehound.features import cascade_training

    rng = np.random.default_rng(6)
    objects, others = bright_left(rng, 120), clutter(rng, 1200)
    options = {"window": WINDOW, "training": {**QUICK, "false_positives": 0.02}}
    whole = viola_jones(Classes(("edge",)), **options)
    whole.fit_patches(objects, others, progress=False)

    real, saves = cascade_training.save_stumps, []

    def saving(*args):
        real(*args)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    state = tmp_path / "state.npz"
    monkeypatch.setattr(cascade_training, "save_stumps", saving)
    with pytest.raises(KeyboardInterrupt):
        viola_jones(Classes(("edge",)), **options).fit_patches(
            objects, others, state=state, progress=False
        )
    monkeypatch.setattr(cascade_training, "save_stumps", real)
    resumed = viola_jones(Classes(("edge",)), **options)
    resumed.fit_patches(objects, others, state=state, progress=False)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(resumed.arrays()[name], array, err_msg=name)


def test_state_of_another_training_is_refused(tmp_path):
    rng = np.random.default_rng(7)
    state = tmp_path / "state.npz"
    make = lambda: viola_jones(Classes(("edge",)), window=WINDOW, training=QUICK)  # noqa: E731
    make().fit_patches(bright_left(rng, 60), clutter(rng, 400), state=state, progress=False)
    with pytest.raises(TrainingError, match="other data or options"):
        make().fit_patches(bright_left(rng, 60), clutter(rng, 400), state=state, progress=False)


def test_fit_learns_from_boxes_of_a_data_set():
    from gazehound.data.dataset import BoxTable, Dataset, ImageTable

    scenes = [picture(seed, (seed * 7 % 70, seed * 11 % 110)) for seed in range(40)]
    table = ImageTable(
        root=Path(),
        files=np.asarray([""] * 40), ids=np.arange(40),
        sizes=np.asarray([[120, 160]] * 40), render=lambda i: scenes[i][0],
    )  # fmt: skip
    boxes = BoxTable.of(np.arange(40), [box for _, box in scenes], np.zeros(40), 40)
    dataset = Dataset(Classes(("edge",)), table, boxes)
    detector = viola_jones(dataset.classes, window=WINDOW, training={**QUICK, "mirror": False})
    detector.fit(dataset, progress=False)
    image, truth = picture(77, (30, 90))
    found = detector.predict([image])[0]
    assert max((iou(box, truth) for box in found.boxes), default=0) > 0.3


ODD = {
    "grey": np.zeros((40, 50), np.uint8),
    "one channel": np.zeros((40, 50, 1), np.uint8),
    "16 bits": np.random.default_rng(0).integers(0, 65536, (40, 50), dtype=np.uint16),
    "one pixel": np.full((1, 1, 3), 7, np.uint8),
    "smaller than the window": np.zeros((5, 200, 3), np.uint8),
    "just the window": np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8),
    "flat": np.full((60, 60, 3), 200, np.uint8),
    "a view": np.zeros((80, 100, 3), np.uint8)[::2, ::-2],
}


@pytest.mark.parametrize("scan", ["detector", "image"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_taken(trained, scan, kind):
    detector = ViolaJones.of_cascade(trained.cascades[0], scan=scan)
    before = ODD[kind].copy()
    found = detector.predict([ODD[kind]])[0]
    assert found.image_size == ODD[kind].shape[:2]
    np.testing.assert_array_equal(ODD[kind], before)
    if kind in ("flat", "one pixel", "smaller than the window", "grey"):
        assert len(found) == 0


def test_flat_windows_are_rejected_whatever_the_cascade_says():
    stumps = Stumps(np.zeros(1, int), np.zeros(1, np.float32), np.asarray([[1.0, 1.0]]))
    always = Cascade.of_stages(haar_features(WINDOW), [stumps], [0.5])
    flat = np.full((20, 20), 99, np.uint8)
    noisy = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    scale = np.asarray([1.0], np.float32)
    assert len(scan_scales(always, flat, scale).boxes) == 0
    assert len(scan_scales(always, noisy, scale).boxes) == 81
    assert len(scan_images(always, noisy, scale).boxes) == 20  # OpenCV leaves out the last row


def test_saved_and_loaded_it_answers_the_same(trained, tmp_path):
    from gazehound.checkpoints.native import Header, load_arrays, save_arrays

    file = tmp_path / "edge.safetensors"
    header = Header("viola-jones", {"window": WINDOW}, trained.classes)
    save_arrays(file, trained.arrays(), header)
    again = viola_jones(trained.classes, window=WINDOW)
    again.load_arrays(load_arrays(file)[0])
    image, _ = picture(5)
    a, b = trained.predict([image])[0], again.predict([image])[0]
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_score_keeps_the_better_ones(trained):
    image, _ = picture(3)
    every = trained.predict([image])[0]
    middle = float(np.median(every.scores))
    assert (trained.predict([image], score=middle)[0].scores >= middle).all()


def test_wrong_arguments_are_one_line(trained):
    classes = Classes(("edge",))
    with pytest.raises(ConfigError, match="did you mean image"):
        viola_jones(classes, scan="imag")
    with pytest.raises(ConfigError, match="option of training 'stage'"):
        viola_jones(classes, training={"stage": 3})
    with pytest.raises(ConfigError, match="scale_step over 1"):
        viola_jones(classes, scale_step=1.0)
    with pytest.raises(ConfigError, match="detection must lie between"):
        viola_jones(classes, training={"detection": 1.5})
    with pytest.raises(ConfigError, match="no cascade yet"):
        viola_jones(classes).predict([np.zeros((30, 30, 3), np.uint8)])
    with pytest.raises(ImageError, match="uint8 or uint16"):
        trained.predict([np.zeros((30, 30, 3), np.float32)])
    with pytest.raises(CheckpointError, match="class 'edge': cascade without window"):
        viola_jones(classes).load_arrays({})
    with pytest.raises(TrainingError, match="needs 30 objects"):
        viola_jones(classes, window=WINDOW).fit_patches(
            np.zeros((3, 12, 12), np.uint8), np.zeros((90, 12, 12), np.uint8), progress=False
        )


def test_damaged_arrays_are_refused(trained):
    arrays = trained.arrays()
    arrays["0.children"] = np.full_like(arrays["0.children"], 3)
    with pytest.raises(CheckpointError, match="child out of range"):
        viola_jones(trained.classes).load_arrays(arrays)


def test_the_bundled_face_cascade_finds_the_astronaut():
    data = pytest.importorskip("skimage.data")
    from gazehound.catalog import WEIGHTS
    from gazehound.checkpoints.native import load_arrays

    detector = viola_jones_face()
    detector.load_arrays(load_arrays(WEIGHTS / "viola_jones_face.safetensors")[0])
    found = detector.predict([data.astronaut()])[0]
    face = np.asarray([180, 80, 265, 185], np.float32)
    assert iou(found.boxes[0], face) > 0.4
    assert len(found) <= 3


def test_scales_stop_at_the_image():
    scales = scales_of((24, 24), (100, 60), 1.25)
    assert scales[0] == 1
    assert np.rint(24 * scales[-1]) <= 60 < np.rint(24 * scales[-1] * 1.25)
    assert len(scales_of((24, 24), (20, 100), 1.25)) == 0
    bounded = scales_of((24, 24), (100, 60), 1.25, (30, 30), (40, 40))
    assert (np.rint(24 * bounded) >= 30).all()
    assert (np.rint(24 * bounded) <= 40).all()


def test_scores_are_the_last_stage_s_response_as_a_part_of_its_range(trained):
    image, _ = picture(3)
    detector = ViolaJones.of_cascade(trained.cascades[0], scan="detector", grouping="none")
    cascade = trained.cascades[0]
    leaves = cascade.leaves.reshape(-1, 2)[cascade.stage_first[-2] :].astype(float)
    low, high = leaves.min(axis=1).sum(), leaves.max(axis=1).sum()
    hits = detector.windows(image[..., 0], cascade)
    expected = np.sort((hits.response - low) / (high - low))[::-1]
    found = detector.predict([image])[0].scores
    assert len(found) > 0
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-5)
    assert 0 <= found.min() <= found.max() <= 1
