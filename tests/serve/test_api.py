"""Every endpoint as a client meets it: answers equal the detector's, every limit is a document."""

import http.client
import io
import json
import socket
import struct
import threading
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from served import wait_for
from stubs import CLASSES, SECRET, ColourDetector, CrowdDetector, MoodyDetector, plain, png

from gazehound.serve.settings import Settings

RED, SEA = plain((200, 10, 30)), plain((3, 90, 250), 20, 31)


@pytest.fixture(scope="module")
def client(shared):
    return shared(ColourDetector(), Settings(upload_bytes=60_000, pixels=40_000))


def post(client, data, kind="image/png", **query):
    return client.post("/v1/detect", content=data, headers={"Content-Type": kind}, params=query)


def boxes(answer):
    return [row["box"] for row in answer.json()["detections"]]


def is_problem(answer, status, kind):
    document = answer.json()
    assert answer.status_code == document["status"] == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"urn:gazehound:{kind}"
    assert document["title"]
    assert document["detail"]
    assert document.keys() == {"type", "title", "status", "detail"}
    for leak in ("/", "\\", "Traceback", "0x", ".py", SECRET):
        assert leak not in document["detail"].replace("multipart/form-data", "").replace(
            "image/...", ""
        ).replace("application/octet-stream", ""), document
    return document


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize("picture", [RED, SEA], ids=["red", "sea"])
def test_raw_body_and_form_give_what_the_detector_finds(client, picture):
    expected = ColourDetector.expected(picture)
    raw = post(client, png(picture))
    form = client.post("/v1/detect", files={"file": ("a.png", png(picture), "image/png")})
    bare = client.post("/v1/detect", content=png(picture))  # no content type at all
    for answer in (raw, form, bare):
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "model": "stub",
            "image": {"width": picture.shape[1], "height": picture.shape[0]},
            "suppressed": True,
            "detections": [
                {
                    "box": box, "score": pytest.approx(score, abs=1e-9), "label": label,
                    "name": CLASSES.names[label], "category_id": CLASSES.ids[label],
                }
                for box, score, label in zip(
                    expected.boxes.tolist(), (0.9, 0.4), expected.labels.tolist(), strict=True
                )
            ],
        }  # fmt: skip
        assert set(answer.headers["server-timing"].replace(",", ";").split(";")) >= {"decode"}


def test_numbers_are_the_shortest_that_give_the_same_float32(client):
    assert b'"score":0.9,' in post(client, png(RED)).content


def test_score_and_class_filters(client):
    assert len(boxes(post(client, png(RED), score=0.5))) == 1
    assert len(boxes(post(client, png(RED), **{"class": "red [fox]"}))) == 1
    both = post(client, png(RED), **{"class": ["cat", "red [fox]"]})
    assert len(boxes(both)) == 2
    assert boxes(post(client, png(RED), **{"class": "dog"})) == []


def test_extras_are_answered(serve):
    class Posed(ColourDetector):
        def predict(self, images, *, score=None):
            from dataclasses import replace

            found = super().predict(images, score=score)
            return [
                replace(f, extras={"keypoints": np.float32([[[1, 2, 0.5]]] * len(f))})
                for f in found
            ]

    first = post(serve(Posed()), png(RED)).json()["detections"][0]
    assert first["extras"] == {"keypoints": [[1.0, 2.0, 0.5]]}


def test_pictures_are_read_as_everywhere_in_the_house(client):
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SEA).save(turned, "JPEG", exif=exif)
    assert post(client, turned.getvalue(), "image/jpeg").json()["image"] == {
        "width": 20, "height": 31,
    }  # fmt: skip
    deep = io.BytesIO()
    Image.fromarray(np.full((9, 5), 40_000, np.uint16)).save(deep, "TIFF")
    assert boxes(post(client, deep.getvalue(), "image/tiff"))[1][:2] == [40_000 >> 8] * 2
    ink = io.BytesIO()
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(ink, "JPEG", quality=100)
    red, green = boxes(post(client, ink.getvalue(), "image/jpeg"))[1][:2]
    assert red > 240
    assert green < 15


def test_preview_is_the_upright_picture(client):
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SEA).save(turned, "TIFF", exif=exif)
    answer = client.post("/v1/preview", content=turned.getvalue())
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as seen:
        assert seen.size == (20, 31)
        assert np.abs(np.asarray(seen)[3, 3].astype(int) - (3, 90, 250)).max() < 12


def test_model_document(serve):
    document = serve(CrowdDetector()).get("/v1/model").json()
    assert document["name"] == "stub"
    assert document["classes"][2] == {"label": 2, "name": "red [fox]", "category_id": 90}
    assert document["suppression"] == {"plain": True, "iou": 0.45, "limit": 60}
    assert document["limits"]["upload_bytes"] == 20 * 2**20


def test_candidates_are_the_boxes_before_suppression(serve):
    client = serve(CrowdDetector(), Settings(candidates=50))
    before = post(client, png(RED), candidates=True).json()
    after = post(client, png(RED)).json()
    assert (before["suppressed"], after["suppressed"]) == (False, True)
    assert len(before["detections"]) == 50
    assert 0 < len(after["detections"]) < 50
    assert after["detections"][0] in before["detections"]


def test_the_page_and_its_files(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    script = client.get("/page/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = client.get("/page/app.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head("/").status_code == 200
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/%2e%2e/errors.py", "x", "app.js/"):
        assert client.get(f"/page/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/v1/model", "/healthz", "/nowhere"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy  # no other host
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers or "uvicorn" in headers["server"]


def test_life_and_readiness(client):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


# ------------------------------------------------------------------ limits


def test_too_large_an_upload(client):
    assert is_problem(post(client, b"x" * 60_001), 413, "too-large")
    form = client.post("/v1/detect", files={"file": b"x" * 60_001})  # within a form's framing
    is_problem(form, 413, "too-large")
    is_problem(client.post("/v1/detect", files={"file": b"x" * 400_000}), 413, "too-large")


def spoken(client, head, *parts):
    """Speak HTTP by hand: send these bytes, and return status and document of what is answered."""
    with socket.create_connection((client.base_url.host, client.base_url.port), 10) as line:
        for part in (head.encode() + b"\r\n\r\n", *parts):
            line.sendall(part)
        response = http.client.HTTPResponse(line)
        response.begin()
        return httpx.Response(
            response.status, headers=dict(response.headers), content=response.read()
        )


def test_too_large_an_upload_of_unknown_length(client):
    head = "POST /v1/detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
    chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
    is_problem(spoken(client, head, *[chunk] * 7), 413, "too-large")  # and no end of it in sight


def bomb(width, height):
    """A PNG of a few bytes whose header promises a great picture, and whose data would fill it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(min((width + 1) * height, 1_000_000)), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_too_many_pixels_are_refused_before_they_are_decoded(client, monkeypatch):
    def never(*_):
        raise AssertionError("decoded")

    assert post(client, png(plain((1, 2, 3), 200, 200))).status_code == 200  # exactly the limit
    monkeypatch.setattr("gazehound.serve.service.decode_image", never)
    document = is_problem(post(client, png(plain((1, 2, 3), 200, 201))), 413, "too-many-pixels")
    assert "40000" in document["detail"]
    is_problem(post(client, bomb(1000, 1000)), 413, "too-many-pixels")
    is_problem(post(client, bomb(60_000, 60_000)), 413, "too-many-pixels")  # Pillow's own limit


def test_a_slow_model_is_not_waited_for_and_the_next_request_is_answered(serve):
    detector = MoodyDetector(seconds=20)
    client = serve(detector, Settings(seconds=0.3, batch=1))
    answer = post(client, png(plain((0, 255, 0))))
    detector.released.set()
    is_problem(answer, 503, "timeout")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    wait_for(lambda: post(client, png(RED)).status_code == 200)


def test_a_slow_upload_is_not_waited_for(serve):
    client = serve(ColourDetector(), Settings(seconds=0.2))
    head = "POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 100"
    is_problem(spoken(client, head, b"\x89PNG"), 408, "slow-upload")  # the rest never comes


def test_a_client_that_goes_away_leaves_nothing_behind(serve):
    client = serve(ColourDetector())
    with socket.create_connection((client.base_url.host, client.base_url.port), 10) as line:
        line.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n\x89PNG")
        wait_for(lambda: "in_work 1.0" in client.get("/metrics").text)
    wait_for(lambda: "in_work 0.0" in client.get("/metrics").text)
    assert 'path="/v1/detect",status="499"} 1.0' in client.get("/metrics").text


def test_a_full_queue_says_when_to_come_again(serve):
    detector = MoodyDetector(seconds=20)
    client = serve(detector, Settings(queue=1))
    first = threading.Thread(target=post, args=(client, png(plain((0, 255, 0)))))
    first.start()
    assert detector.started.wait(10)
    answer = post(client, png(RED))
    detector.released.set()
    first.join()
    is_problem(answer, 503, "queue-full")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert post(client, png(RED)).status_code == 200


def test_a_model_that_hangs_is_told_and_does_not_hold_up_the_end(serve):
    detector = MoodyDetector(seconds=60)  # longer than the fixture waits for the server's end
    client = serve(detector, Settings(seconds=0.3))
    is_problem(post(client, png(plain((0, 255, 0)))), 503, "timeout")
    wait_for(lambda: client.get("/readyz").status_code == 503)
    document = is_problem(client.get("/readyz"), 503, "not-ready")
    assert "too long" in document["detail"]
    assert client.get("/healthz").status_code == 200


def test_a_page_that_comes_early_waits_for_the_model(serve):
    class Lazy(CrowdDetector):
        def predict(self, images, *, score=None):
            gate.wait(20)
            return super().predict(images, score=score)

    gate = threading.Event()
    client = serve(Lazy(), Settings(seconds=0.1), False)
    is_problem(client.get("/readyz"), 503, "not-ready")
    is_problem(client.get("/v1/model"), 503, "not-ready")
    gate.set()
    wait_for(lambda: client.get("/v1/model").status_code == 200)
    assert client.get("/v1/model").json()["suppression"]["plain"]


# ------------------------------------------------------------------ faults


def damaged():
    whole = png(np.random.default_rng(0).integers(0, 256, (20, 20, 3)))
    yield "cut", whole[:-200]
    yield "text", b"hello"
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield "header only", whole[:33]
    tiff = io.BytesIO()
    Image.fromarray(RED).save(tiff, "TIFF")
    yield "tiff cut", tiff.getvalue()[:-150]
    yield "gif", b"GIF89a" + b"\xff" * 30


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damaged()])
def test_what_is_no_picture_is_one_line(client, data):
    is_problem(post(client, data), 422, "unreadable-image")


def test_requests_without_a_picture(client):
    is_problem(post(client, b""), 400, "no-image")
    is_problem(client.post("/v1/detect", files={"other": b"x"}), 400, "no-image")
    is_problem(client.post("/v1/detect", files={"file": b""}), 400, "no-image")
    is_problem(post(client, b"x", "multipart/form-data"), 400, "bad-request")  # no boundary
    is_problem(post(client, b"x", "multipart/form-data; boundary=a"), 400, "bad-request")
    is_problem(post(client, b"{}", "application/json"), 415, "unsupported-media-type")


@pytest.mark.parametrize("query", ["score=2", "score=nan", "score=x", "candidates=maybe"])
def test_wrong_parameters(client, query):
    answer = client.post(f"/v1/detect?{query}", content=png(RED))
    document = is_problem(answer, 422, "invalid-parameter")
    assert query.split("=")[0] in document["detail"]


def test_an_unknown_class_is_named_with_its_neighbours(client):
    answer = client.post("/v1/detect", content=png(RED), params={"class": "catt"})
    assert "did you mean cat?" in is_problem(answer, 422, "unknown-class")["detail"]


def test_unknown_paths_and_methods(client):
    is_problem(client.get("/nowhere"), 404, "not-found")
    answer = client.put("/v1/model")
    is_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


def test_a_fault_of_the_model_is_told_without_its_text(serve):
    client = serve(MoodyDetector())
    is_problem(post(client, png(plain((255, 0, 0)))), 500, "internal")
    assert post(client, png(RED)).status_code == 200


def test_a_fault_of_ours_is_told_without_its_text(client, monkeypatch):
    def broken(*_):
        raise RuntimeError(SECRET)

    monkeypatch.setattr("gazehound.serve.app.model_document", broken)
    is_problem(client.get("/v1/model"), 500, "internal")


def test_openapi_names_every_route_and_no_path_of_the_machine(client):
    text = client.get("/openapi.json").text
    assert set(json.loads(text)["paths"]) == {
        "/v1/detect", "/v1/preview", "/v1/model", "/healthz", "/readyz",
    }  # fmt: skip
    assert SECRET not in text


# ------------------------------------------------------------------ numbers


def test_metrics_count_right(serve):
    client = serve(MoodyDetector())
    for _ in range(3):
        assert post(client, png(RED)).status_code == 200
    post(client, png(plain((255, 0, 0))))
    post(client, b"x")
    post(client, png(RED), candidates=True)
    for k in range(5):
        client.get(f"/made-up-{k}")
    text = client.get("/metrics").text
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    requests = 'gazehound_requests_total{{method="{}",path="{}",status="{}"}}'
    assert numbers[requests.format("POST", "/v1/detect", 200)] == "4.0"
    assert numbers[requests.format("POST", "/v1/detect", 500)] == "1.0"
    assert numbers[requests.format("POST", "/v1/detect", 422)] == "1.0"
    assert numbers[requests.format("GET", "other", 404)] == "5.0"
    assert numbers['gazehound_problems_total{type="unreadable-image"}'] == "1.0"
    assert numbers["gazehound_images_total"] == "5.0"  # the damaged one never came to the model
    assert numbers["gazehound_batch_images_count"] == "5.0"
    assert numbers['gazehound_objects_total{name="cat"}'] == "3.0"  # not of candidates
    assert numbers["gazehound_requests_in_work"] == "0.0"
    assert 'detector="stub"' in text
    assert "made-up" not in text
