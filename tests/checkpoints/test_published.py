"""Published weights by name, from a server on this machine: whole, broken, slow, wrong and absent files."""

import hashlib
import io
import re
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from rich.console import Console

import gazehound
from gazehound.catalog import BY_NAME, squeezed
from gazehound.checkpoints.importing import SOURCES, import_file
from gazehound.checkpoints.native import read_header
from gazehound.checkpoints.published import store
from gazehound.checkpoints.published.download import Patience, download
from gazehound.checkpoints.published.rows import ROWS, TORCHVISION, Published, Publisher
from gazehound.errors import CheckpointError, ConfigError
from gazehound.training.transfer import read_source

HASTE = Patience(timeout=0.3, attempts=2, pause=0.0)


def hog_file():
    """Return a small weight file that an importer reads: a person template in OpenCV's order."""
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).normal(size=3781).astype(np.float32))
    return stream.getvalue()


FILE = hog_file()
SHA256 = hashlib.sha256(FILE).hexdigest()
PUBLISHER = Publisher(
    "opencv-hog", "https://example.org", "Apache-2.0", "CC BY 4.0", "CC BY 4.0, as the test says"
)


class Server(ThreadingHTTPServer):
    """Answers every request by the next of its ``answers``; the last one holds on."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.answers, self.asked = FILE, ["good"], []
        self.over = threading.Event()

    def url(self, name="people.npy"):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    """The ways in which a download goes."""

    def log_message(self, *words):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        getattr(self, answer)(server.content)

    def send(self, status, body, total, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(total))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self, content):
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        if start >= len(content):
            self.send(416, b"", 0, Content_Range=f"bytes */{len(content)}")
        elif start:
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send(206, content[start:], len(content) - start, Content_Range=place)
        else:
            self.send(200, content, len(content))

    def whole(self, content):
        """Take no notice of a Range."""
        self.send(200, content, len(content))

    def cut(self, content):
        self.send(200, content[:4000], len(content))

    def stalled(self, content):
        self.send(200, content[:4000], len(content))
        self.wfile.flush()
        self.server.over.wait(20)

    def silent(self, content):
        self.server.over.wait(20)

    def elsewhere(self, content):
        """Send another part than the one that was asked for."""
        place = f"bytes 5-{len(content) - 1}/{len(content)}"
        self.send(206, content[5:], len(content) - 5, Content_Range=place)

    def absent(self, content):
        self.send_error(404)

    def ill(self, content):
        self.send_error(503)

    def page(self, content):
        self.send(200, b"<html>", 6, Content_Type="text/html; charset=utf-8")


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.over.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def row(server, monkeypatch, tmp_path):
    """One published file on the local server, and an empty cache."""
    monkeypatch.setenv("GAZEHOUND_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GAZEHOUND_OFFLINE", raising=False)
    monkeypatch.delenv("GAZEHOUND_MIRROR", raising=False)
    one = Published(
        "hog-svm", "test", PUBLISHER, "people", (server.url(),), "people.npy",
        f"sha256:{SHA256[:8]}", 12.5, megabytes=0.02,
    )  # fmt: skip
    monkeypatch.setattr(store, "ROWS", (one,))
    return one


def get(server, target, digest=f"sha256:{SHA256}", urls=None):
    return download(urls or [server.url()], target, digest, patience=HASTE)


def test_a_whole_file(server, tmp_path):
    told = []
    target = tmp_path / "new" / "people.npy"
    found = download(
        [server.url()], target, f"sha256:{SHA256[:6]}", lambda *row: told.append(row), HASTE
    )
    assert (found, target.read_bytes()) == (SHA256, FILE)
    assert told[0] == (0, len(FILE))
    assert told[-1] == (len(FILE), len(FILE))
    assert [path.name for path in target.parent.iterdir()] == ["people.npy"]


@pytest.mark.parametrize("first", ["cut", "stalled"])
def test_what_broke_off_goes_on_where_it_was(server, tmp_path, first):
    server.answers = [first, "good"]
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE
    assert server.asked == [("/people.npy", None), ("/people.npy", "bytes=4000-")]


def test_a_later_call_goes_on_too(server, tmp_path):
    server.answers = ["cut", "ill"]
    with pytest.raises(CheckpointError, match="503 Service Unavailable"):
        get(server, tmp_path / "f")
    assert (tmp_path / "f.part").read_bytes() == FILE[:4000]
    server.answers = ["good"]
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE
    assert server.asked[-1][1] == "bytes=4000-"


@pytest.mark.parametrize("answers", [["whole"], ["elsewhere", "good"]])
def test_a_server_that_cannot_resume_starts_anew(server, tmp_path, answers):
    (tmp_path / "f.part").write_bytes(FILE[:1000])
    server.answers = answers
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "f.part").write_bytes(FILE)
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE
    (tmp_path / "g.part").write_bytes(FILE + b"more")  # of some other file
    get(server, tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == FILE


def test_always_cut_says_how_far_it_came(server, tmp_path):
    server.answers = ["cut", "ill", "ill"]
    with pytest.raises(CheckpointError, match="503"):
        get(server, tmp_path / "f")
    server.answers = ["silent"]
    with pytest.raises(CheckpointError, match=r"no byte came for 0\.3 seconds"):
        get(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_wrong_hash_is_refused_and_removed(server, tmp_path):
    server.content = FILE[:-1] + b"\0"
    with pytest.raises(CheckpointError, match=f"should begin with {SHA256}, but is"):
        get(server, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
    md5 = hashlib.md5(server.content).hexdigest()
    get(server, tmp_path / "f", f"md5:{md5[:6]}")
    assert (tmp_path / "f").is_file()


def test_addresses_are_tried_in_turn(server, tmp_path):
    server.answers = ["absent", "page", "good"]
    urls = ["ftp://127.0.0.1/a", server.url("a"), server.url("b"), server.url("c")]
    get(server, tmp_path / "f", urls=urls)
    assert [path for path, _ in server.asked] == ["/a", "/b", "/c"]
    server.answers = ["absent", "page"]
    with pytest.raises(CheckpointError) as caught:
        get(server, tmp_path / "g", urls=urls[:3])
    told = str(caught.value)
    assert "ftp://127.0.0.1/a: not an http or https address; " in told
    assert "/a: the server answers 404 Not Found; " in told
    assert "/b: gives a web page instead of the file" in told


def test_no_way_there(server, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CheckpointError, match=r"cannot be reached \(Connection refused\)"):
        get(server, tmp_path / "f", urls=[f"http://127.0.0.1:{port}/f"])

    def unknown(*words, **more):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CheckpointError, match="no network here, or no such machine"):
        get(server, tmp_path / "f", urls=["http://example.org/f"])


def test_loaded_by_name_once(row, server, tmp_path):
    lines = io.StringIO()
    file = store.weights_file("HOG_SVM", Console(file=lines, width=300))
    told = lines.getvalue()
    assert "hog-svm@test: opencv-hog's people, 12.5 box AP, COCO val2017" in told
    assert "licence of the weights: CC BY 4.0, as the test says" in told
    assert "licence of the code that made them: Apache-2.0" in told
    header = read_header(file)
    assert header.notes["published"]["sha256"] == SHA256
    assert header.notes["weights_licence"] == "CC BY 4.0, as the test says"
    assert header.notes["published"]["code_licence"] == "Apache-2.0"
    model = gazehound.load("hog-svm@test")
    assert model.predict(np.zeros((140, 90, 3), np.uint8)).image_size == (140, 90)
    assert store.weights_file("people", Console(file=lines)) == file
    assert told == lines.getvalue()  # once only
    assert len(server.asked) == 1
    kept = sorted(path.name for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert [name for name in kept if not name.endswith(".lock")] == [file.name]
    assert store.cached(row) == file
    assert set(read_source("hog-svm")[0])  # what training starts from


def test_a_terminal_sees_a_bar(row, server):
    screen = io.StringIO()
    server.answers = ["stalled", "good"]
    store.native_file(row, Console(file=screen, force_terminal=True, width=120), HASTE)
    assert "people.npy" in screen.getvalue()
    assert "kB" in screen.getvalue()


def test_several_at_once_download_once(row, server):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(store.native_file(row, Console(quiet=True))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(server.asked) == 1


def test_offline(row, server, monkeypatch, tmp_path):
    monkeypatch.setenv("GAZEHOUND_OFFLINE", "1")
    with pytest.raises(CheckpointError) as caught:
        store.weights_file("hog-svm")
    place = tmp_path / "home" / "downloads" / "people.npy"
    assert "GAZEHOUND_OFFLINE is set" in str(caught.value)
    assert f"get {server.url()} on another machine and put it here as {place}" in str(caught.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(FILE[:-2])
    with pytest.raises(CheckpointError, match="not the published file"):
        store.weights_file("hog-svm")
    place.write_bytes(FILE)
    assert store.weights_file("hog-svm").is_file()
    assert place.read_bytes() == FILE  # what its user put there stays
    assert server.asked == []


def test_no_network_says_what_to_put_where(row, server, tmp_path):
    server.answers = ["absent"]
    with pytest.raises(CheckpointError) as caught:
        store.native_file(row, Console(quiet=True), HASTE)
    assert "404" in str(caught.value)
    assert str(tmp_path / "home" / "downloads" / "people.npy") in str(caught.value)


def test_a_mirror(row, server, monkeypatch):
    monkeypatch.setenv("GAZEHOUND_MIRROR", server.url("mine/"))
    store.native_file(replace(row, urls=("http://127.0.0.1:9/x",)), Console(quiet=True))
    assert server.asked == [("/mine/people.npy", None)]


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("GAZEHOUND_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert store.home() == tmp_path / "x" / "gazehound"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert store.home() == tmp_path / "me" / ".cache" / "gazehound"
    monkeypatch.setenv("GAZEHOUND_HOME", str(tmp_path / "own"))
    assert store.home() == tmp_path / "own"


def test_a_connection_that_is_lost_while_reading(server, tmp_path, monkeypatch):
    """Not only sockets say that they are closed: the whole network may go down."""
    import errno
    import http.client

    read, calls = http.client.HTTPResponse.read1, []

    def flaky(self, amount):
        calls.append(amount)
        if len(calls) == 2:
            raise OSError(errno.ENETDOWN, "Network is down")
        return read(self, 3000)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", flaky)
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE
    assert server.asked[1][1] == "bytes=3000-"


def test_a_cache_that_cannot_be_written(row, monkeypatch, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be written .* set GAZEHOUND_HOME"):
        store.native_file(row, Console(quiet=True))


class Trap:
    """What a pickle of foreign classes would do when it is opened."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_foreign_classes_are_never_executed(row, server, tmp_path):
    import torch

    stream = io.BytesIO()
    torch.save({"model": Trap(tmp_path / "sprung")}, stream)
    server.content = stream.getvalue()
    for source, name, file in (
        ("yolox", "yolox_nano", "a.pth"), ("torchvision", "retinanet_r50", "b.pth")
    ):  # fmt: skip
        bad = replace(
            row, name=name, publisher=replace(PUBLISHER, name=source), file=file, digest=""
        )
        with pytest.raises(CheckpointError, match="not a torch file of plain tensors"):
            store.native_file(bad, Console(quiet=True))
        assert not (tmp_path / "home" / "downloads" / file).exists()
    assert not (tmp_path / "sprung").exists()


def test_a_network_by_name_is_what_importing_its_file_gives(row, server, tmp_path, monkeypatch):
    import torch
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(0)
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    file = tmp_path / "theirs.pth"
    torch.save(theirs.state_dict(), file)
    official = next(row for row in ROWS if row.name == "ssdlite320")
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    monkeypatch.setattr(store, "ROWS", (replace(official, digest=digest),))
    monkeypatch.setenv("GAZEHOUND_MIRROR", server.url(""))
    server.content = file.read_bytes()
    model = gazehound.load("ssdlite320_mobilenet_v3_large")
    expected, _ = import_file(file, "torchvision", "ssdlite320")
    state = model.detector.state_dict()
    assert state.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor)
    assert model.header.notes["published"]["name"] == "ssdlite320_mobilenet_v3_large"
    assert model.header.notes["published"]["code_licence"] == "BSD-3-Clause"
    assert len(model.classes) == 90


def test_names():
    for name, title in (
        ("fasterrcnn_r50_fpn", "faster_rcnn_r50@torchvision"),
        ("fasterrcnn_resnet50_fpn", "faster_rcnn_r50@torchvision"),
        ("faster-rcnn-r50@detectron2", "faster_rcnn_r50@detectron2"),
        ("faster_rcnn_R_50_FPN_3x", "faster_rcnn_r50@detectron2"),
        ("ssd300_vgg16", "ssd300@torchvision"),
        ("tf_efficientdet_d3", "efficientdet_d3@effdet"),
        ("yolox-nano", "yolox_nano@yolox"),
        ("yolov4-tiny", "yolov4_tiny@darknet"),
        ("ctdet_coco_dla_2x", "centernet_dla34@centernet"),
    ):
        assert store.find_published(name).title == title
    assert store.find_published("retinanet_r18") is None
    with pytest.raises(ConfigError, match=r"unknown weights of 'yolov3' 'darknett'; did you mean"):
        store.find_published("yolov3@darknett")
    with pytest.raises(ConfigError, match="unknown model 'yolo'"):
        store.find_published("yolo")
    with pytest.raises(ConfigError, match="'retinanet_r18' has no trained weights in this package"):
        store.weights_file("retinanet_r18")
    assert store.weights_file("viola_jones_face").name == "viola_jones_face.safetensors"


def test_the_table():
    spelled = [squeezed(name) for name in BY_NAME]
    assert len(set(spelled)) == len(spelled)
    assert len({row.title for row in ROWS}) == len(ROWS)
    assert len({row.file for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.name in BY_NAME
        assert row.publisher.name in SOURCES
        assert all(url.startswith("https://") for url in row.urls)
        kind, _, value = row.digest.partition(":")
        assert (kind, len(value)) in {("sha256", 8), ("sha256", 64), ("md5", 6), ("", 0)}
        assert re.fullmatch("[0-9a-f]*", value)
        assert 10 < row.score < 90


def test_torchvisions_own_table_says_the_same():
    from torchvision.models import get_model_weights

    mine = [row for row in ROWS if row.publisher is TORCHVISION]
    for row in mine:
        weights = get_model_weights(row.known_as).DEFAULT
        assert row.urls == (weights.url,)
        assert row.score == weights.meta["_metrics"]["COCO-val2017"]["box_map"]
        assert row.megabytes == pytest.approx(weights.meta["_file_size"] * 1.048576, abs=0.06)


def test_effdets_own_table_says_the_same():
    config = pytest.importorskip("effdet.config.model_config").efficientdet_model_param_dict
    for row in ROWS:
        if row.publisher.name == "effdet":
            assert row.urls == (config[row.known_as]["url"],)
