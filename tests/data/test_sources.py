"""From the words of a user to frames: order, names, faults, videos."""

import io
import sys

import av
import numpy as np
import pytest
from PIL import Image

from gazehound.data.sources import Kind, Source, find_sources, frames
from gazehound.errors import ImageError


def put(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (value, value, value)).save(path)
    return path


def video(path, count=5, size=(64, 48), rotation=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for k in range(count):
            image = np.full((size[1], size[0], 3), 40 * k % 256, np.uint8)
            image[: size[1] // 2] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def names(found):
    return [source.name for source in found.sources]


def test_a_folder_in_natural_order_with_its_subfolders(tmp_path):
    for name in ("10.jpg", "2.PNG", "sub/1.webp", ".hidden/x.jpg", ".dot.jpg"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "labels.xml").write_text("x")
    found = find_sources([str(tmp_path)])
    assert names(found) == ["2", "10", "sub/1"]
    assert not found.faults
    assert len(found.notes) == 1
    assert "2 other files left out" in found.notes[0]
    assert ".txt" in found.notes[0]


def test_files_keep_the_order_given_and_get_unique_names(tmp_path):
    words = [str(put(tmp_path / name)) for name in ("b/x.jpg", "a/x.png", "a/y.jpg", "c/x.jpg")]
    found = find_sources([*words, words[0]])
    assert names(found) == ["x_jpg", "x_png", "y", "x_jpg_2"]
    assert "1 files were given more than once" in found.notes[0]


def test_patterns(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        put(tmp_path / name)
    assert names(find_sources([str(tmp_path / "*" / "*.jpg")])) == ["a/1", "a/2", "b/3"]
    monkeypatch.chdir(tmp_path)
    assert names(find_sources(["**/*.jpg"])) == ["a/1", "a/2", "b/3"]
    assert names(find_sources(["a/?.jpg"])) == ["1", "2"]
    assert find_sources(["a/*.gif"]).faults == ("a/*.gif: the pattern matches no file",)


def test_a_file_named_like_a_pattern_is_a_file(tmp_path):
    path = put(tmp_path / "shot[1].png")
    assert names(find_sources([str(path)])) == ["shot[1]"]


def test_words_that_lead_nowhere_are_faults_and_the_rest_goes_on(tmp_path):
    good = put(tmp_path / "good.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.csv").write_text("")
    found = find_sources(
        [
            str(tmp_path / "absent.jpg"),
            str(good),
            str(tmp_path / "empty"),
            str(tmp_path / "texts"),
            "https://example.org/a.jpg",
        ]
    )
    assert names(found) == ["good"]
    assert [fault.split(": ", 1)[1] for fault in found.faults] == [
        "no such file or folder",
        "no pictures or videos in this folder (it is empty)",
        "no pictures or videos in this folder (it has only 1 .csv)",
        "is an address; download the file and give its path",
    ]


def test_cameras_and_standard_input(monkeypatch):
    found = find_sources(["0", "-"])
    assert [(s.kind, s.name) for s in found.sources] == [
        (Kind.CAMERA, "camera0"),
        (Kind.STDIN, "stdin"),
    ]
    with pytest.raises(ImageError, match="camera 77"):
        next(frames(Source(Kind.CAMERA, "77", "camera77")))
    data = io.BytesIO()
    Image.new("RGB", (3, 2), (9, 9, 9)).save(data, "PNG")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.getvalue())))
    (frame,) = frames(found.sources[1])
    assert frame.image.shape == (2, 3, 3)


def test_pictures(tmp_path):
    (source,) = find_sources([str(put(tmp_path / "a.png", 7))]).sources
    (frame,) = frames(source)
    assert (frame.image == 7).all()
    assert (frame.index, frame.time, frame.source) == (0, None, source)


def test_videos(tmp_path):
    (source,) = find_sources([str(video(tmp_path / "v.mp4"))]).sources
    assert source.kind is Kind.VIDEO
    got = list(frames(source))
    assert [frame.index for frame in got] == [0, 1, 2, 3, 4]
    assert [round(frame.time, 3) for frame in got] == [0, 0.1, 0.2, 0.3, 0.4]
    assert got[0].rate == 10
    assert got[0].image.shape == (48, 64, 3)
    means = [frame.image[30:].mean() for frame in got]
    np.testing.assert_allclose(means, [0, 40, 80, 120, 160], atol=4)


def test_a_truncated_video_gives_its_frames_and_then_the_fault(tmp_path):
    whole = video(tmp_path / "v.mkv", 60).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 3])
    (source,) = find_sources([str(cut)]).sources
    count = 0
    try:
        for _ in frames(source):
            count += 1
    except ImageError as error:
        text = str(error)
        assert text.startswith(str(cut))
    assert count < 60


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\x00" * 5000])
def test_a_file_that_is_no_video(tmp_path, content):
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    (source,) = find_sources([str(path)]).sources
    with pytest.raises(ImageError, match="cannot be read as a video") as caught:
        list(frames(source))
    assert "\n" not in str(caught.value)


def test_a_sound_file_has_no_picture_track(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (source,) = find_sources([str(path)]).sources
    with pytest.raises(ImageError, match="no picture track"):
        list(frames(source))
