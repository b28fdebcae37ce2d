"""Sixty-four clients at once: no request is lost, and each gets the boxes of its own image."""

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from stubs import ColourDetector, plain, png

from gazehound.serve.settings import Settings

CLIENTS = 64
ROUNDS = 3


def pictures():
    """Pictures that all differ, in colour and in size."""
    rng = np.random.default_rng(0)
    for k in range(CLIENTS * ROUNDS):
        yield plain((k, 255 - k, rng.integers(256)), 8 + k % 7, 9 + k % 11)


def detect(server, images):
    """Post images over one connection; return status, headers and document of each answer."""
    url = server.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=30)
    answers = []
    for image in images:
        connection.request("POST", "/v1/detect", png(image))
        answer = connection.getresponse()
        answers.append((answer.status, answer.headers, json.loads(answer.read())))
    connection.close()
    return answers


def test_parallel_clients(serve):
    detector = ColourDetector(seconds=0.005)
    server = serve(detector, Settings(batch=8, wait=0.01, queue=CLIENTS))
    gate = threading.Barrier(CLIENTS)
    work = list(pictures())

    def ask(k):
        gate.wait(30)
        return detect(server, work[k * ROUNDS : (k + 1) * ROUNDS])

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for own in pool.map(ask, range(CLIENTS)) for answer in own]

    assert [status for status, _, _ in answers] == [200] * len(work)
    for image, (_, _, document) in zip(work, answers, strict=True):
        expected = ColourDetector.expected(image)
        assert [row["box"] for row in document["detections"]] == expected.boxes.tolist()
        assert document["image"] == {"width": image.shape[1], "height": image.shape[0]}
    sizes = detector.batches[1:]  # after the warm-up
    assert sum(sizes) == len(work)
    assert max(sizes) <= 8
    assert len(sizes) < len(work) / 2, "requests were not batched"


def test_beyond_the_queue_every_request_is_answered_too(serve):
    detector = ColourDetector(seconds=0.02)
    server = serve(detector, Settings(batch=1, queue=4))
    gate = threading.Barrier(24)

    def ask(k):
        gate.wait(30)
        return detect(server, [plain((k, 0, 1))])[0]

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(24)))
    states = [status for status, _, _ in answers]
    assert set(states) <= {200, 503}
    assert states.count(200) >= 4
    for k, (status, headers, document) in enumerate(answers):
        if status == 200:
            assert document["detections"][1]["box"][0] == k
        else:
            assert document["type"] == "urn:gazehound:queue-full"
            assert int(headers["retry-after"]) >= 1
