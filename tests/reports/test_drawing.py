"""Pictures with boxes: where the ink is, what stays untouched, odd sizes, videos."""

import base64
import io

import av
import numpy as np
import pytest
from PIL import Image

from gazehound.errors import ConfigError
from gazehound.records import Classes, Detections, Sample
from gazehound.reports.drawing import (
    Layer,
    colour_of,
    data_url,
    draw,
    draw_detections,
    enlarged,
    font_for,
)
from gazehound.reports.video import VideoWriter

CLASSES = Classes(tuple(f"class {k}" for k in range(100)))
GREY = np.full((120, 200, 3), 128, np.uint8)


def layer(boxes, labels=None, scores=None, **more):
    boxes = np.float32(boxes).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.asarray(labels)
    return Layer(boxes, labels, CLASSES, scores, **more)


def test_lines_run_along_the_box_and_the_picture_inside_and_outside_is_untouched():
    image = GREY.copy()
    drawn = draw(image, layer([[50, 40, 150, 100]], [3]), names=False)
    np.testing.assert_array_equal(image, GREY)
    assert drawn.shape == image.shape
    colour = colour_of(3)
    for y, x in ((40, 100), (99, 100), (70, 50), (70, 149)):
        assert tuple(drawn[y, x]) == colour
    assert (drawn[50:90, 60:140] == 128).all()
    assert (drawn[:35] == 128).all()
    assert (drawn[105:] == 128).all()


def test_dashes_leave_gaps():
    solid = draw(GREY, layer([[20, 20, 180, 100]]), names=False)
    dashed = draw(GREY, layer([[20, 20, 180, 100]], dashed=True), names=False)
    ink_solid, ink_dashed = ((d != GREY).any(-1).sum() for d in (solid, dashed))
    assert 0.4 * ink_solid < ink_dashed < 0.9 * ink_solid


def test_labels_stay_inside_the_picture_and_apart():
    boxes = [[0, 0, 60, 40], [0, 0, 70, 50], [150, 90, 200, 120], [198, 0, 200, 9]]
    drawn = draw(GREY, layer(boxes, [0, 1, 2, 3], np.float32([0.9, 0.8, 0.7, 0.6])))
    assert drawn.shape == GREY.shape
    for label in range(4):  # the tab of each class is seen
        near = np.abs(drawn.astype(int) - colour_of(label)).max(-1) < 30
        assert near.sum() > 100


def test_a_hundred_classes_have_a_hundred_colours():
    colours = [colour_of(k) for k in range(100)]
    assert len(set(colours)) == 100
    first = np.array(colours[:10])
    apart = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(10)
    assert apart.min() > 90


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2), (2000, 3000)])
def test_any_size_of_picture(shape):
    h, w = shape
    image = np.zeros((h, w, 3), np.uint8)
    found = Detections(
        np.float32([[0, 0, w, h], [w / 2, h / 2, w / 2, h / 2]]), np.float32([1, 0.5]),
        np.array([0, 1]), CLASSES, shape,
    )  # fmt: skip
    drawn = draw_detections(image, found)
    assert drawn.shape == image.shape
    assert drawn.any()


def test_boxes_outside_inverted_or_nan_do_no_harm():
    boxes = [[-50, -50, -10, -10], [500, 500, 600, 600], [90, 50, 20, 10], [np.nan, 0, 5, 5],
             [-np.inf, 0, np.inf, 50], [-1e9, -1e9, 1e9, 1e9]]  # fmt: skip
    assert draw(GREY, layer(boxes)).shape == GREY.shape
    assert (draw(GREY, layer([])) == GREY).all()


def test_truths_and_letters_of_other_scripts():
    classes = Classes(("猫", "Köter", "лиса"))
    sample = Sample.of(GREY, [[10, 30, 90, 90], [100, 30, 190, 90]], [1, 2])
    assert (draw(GREY, Layer.of_truths(sample, classes)) != GREY).any()
    assert font_for("лиса", 12).getname() != font_for("dog", 12).getname()


def test_columns_of_another_length_are_refused():
    with pytest.raises(ConfigError, match="labels per box"):
        layer([[0, 0, 1, 1]], [0, 1])


def test_data_url_and_enlarging():
    url = data_url(np.zeros((1000, 3000, 3), np.uint8), longest=300)
    head, body = url.split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        assert image.size == (300, 100)
    bigger, scale = enlarged(np.zeros((10, 20, 3), np.uint8), 200)
    assert (bigger.shape, scale) == ((100, 200, 3), 10)
    same, scale = enlarged(GREY, 100)
    assert same is GREY
    assert scale == 1


def test_video_keeps_frames_times_and_colours(tmp_path):
    path = tmp_path / "sub" / "v.mp4"
    with VideoWriter(path, rate=10) as writer:
        for k in range(6):
            writer.write(np.full((33, 51, 3), 40 * k, np.uint8), None if k < 3 else 0.1 * k)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = list(container.decode(stream))
    assert (frames[0].width, frames[0].height) == (52, 34)
    assert [round(frame.time, 3) for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    means = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    np.testing.assert_allclose(means, [0, 40, 80, 120, 160, 200], atol=4)
    assert [p.name for p in path.parent.iterdir()] == ["v.mp4"]


def test_video_of_changing_size_is_refused_and_of_nothing_writes_nothing(tmp_path):
    with VideoWriter(tmp_path / "v.mp4") as writer:
        writer.write(GREY)
        with pytest.raises(ConfigError, match="one size"):
            writer.write(GREY[:50])
    with VideoWriter(tmp_path / "none.mp4"):
        pass
    assert not (tmp_path / "none.mp4").exists()


def test_tracked_objects_have_their_own_colour_and_number():
    found = Detections(
        np.float32([[20, 30, 80, 110], [120, 30, 180, 110], [90, 5, 110, 20]]),
        np.float32([0.9, 0.8, 0.7]), np.array([0, 0, 0]), CLASSES, (120, 200),
        extras={"track_id": np.array([3, 8, -1])},
    )  # fmt: skip
    made = Layer.of_detections(found)
    assert made.colours == [colour_of(2), colour_of(7), colour_of(0)]
    numbered, plain = draw_detections(GREY, found), draw(GREY, made, names=False)
    assert tuple(plain[109, 50]) == colour_of(2)
    assert tuple(plain[109, 150]) == colour_of(7)
    without = draw(GREY, layer(found.boxes, found.labels, found.scores, colours=made.colours))
    assert (numbered != without).any()  # the numbers are written
    with pytest.raises(ConfigError, match="one of ids per box"):
        layer([[0, 0, 1, 1]], ids=np.array([1, 2]))
