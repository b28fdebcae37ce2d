"""The queue before the model: who shares a batch, who leaves the line, who gets which result."""

import asyncio
import threading

import numpy as np
import pytest
from stubs import CLASSES

from gazehound.records import Detections
from gazehound.serve.batching import Ask, Batcher

ALL = Ask()


def picture(number):
    return np.full((2, 2, 3), number, np.uint8)


def echo(image):
    """Detections whose one box is the image's number."""
    value = float(image[0, 0, 0])
    box = np.float32([[value, 0, value + 1, 1]])
    return Detections(box, np.float32([1]), np.array([0]), CLASSES, (2, 2))


class Model:
    """Notes the numbers of every batch; works only while its gate is open."""

    def __init__(self, bad=()):
        self.batches, self.bad, self.gate = [], bad, threading.Event()
        self.gate.set()

    def __call__(self, ask, images):
        assert threading.current_thread().name == "gazehound-model"
        self.gate.wait(10)
        numbers = [int(image[0, 0, 0]) for image in images]
        self.batches.append((ask, numbers))
        return [ValueError(n) if n in self.bad else echo(picture(n)) for n in numbers]


def run(model, work, **options):
    """Run ``work(batcher)`` with a batcher that is drained afterwards."""

    async def main():
        batcher = Batcher(model, **{"batch": 4, "wait": 0.02, **options})
        batcher.start()
        try:
            return await asyncio.wait_for(work(batcher), 20)
        finally:
            await asyncio.wait_for(batcher.drain(), 20)

    return asyncio.run(main())


def number(outcome):
    return int(outcome.found.boxes[0, 0])


def test_everyone_gets_the_result_of_his_own_image():
    async def work(batcher):
        return await asyncio.gather(*(batcher.submit(picture(k), ALL) for k in range(50)))

    model = Model()
    outcomes = run(model, work)
    assert [number(outcome) for outcome in outcomes] == list(range(50))
    assert [n for _, batch in model.batches for n in batch] == list(range(50))  # first come, first
    assert all(len(batch) <= 4 for _, batch in model.batches)
    assert len(model.batches) == 13  # full ones while there are enough


def test_a_lonely_image_waits_for_others():
    async def work(batcher):
        return await batcher.submit(picture(1), ALL)

    alone = run(Model(), work, wait=0.3)
    assert alone.waited >= 0.29
    assert alone.together == 1


def test_a_full_batch_waits_for_nobody():
    async def work(batcher):
        return await asyncio.gather(*(batcher.submit(picture(k), ALL) for k in range(4)))

    full = run(Model(), work, wait=60)  # longer than ``run`` has patience
    assert [outcome.together for outcome in full] == [4] * 4


def test_only_those_who_ask_the_same_share_the_model():
    asks = [Ask(), Ask(True), Ask(), Ask(score=0.5)]

    async def work(batcher):
        return await asyncio.gather(
            *(batcher.submit(picture(k), ask) for k, ask in enumerate(asks))
        )

    model = Model()
    assert [number(outcome) for outcome in run(model, work)] == [0, 1, 2, 3]
    assert model.batches == [(Ask(), [0, 2]), (Ask(True), [1]), (Ask(score=0.5), [3])]


def test_whoever_gives_up_leaves_the_line():
    async def work(batcher):
        model.gate.clear()
        first = asyncio.create_task(batcher.submit(picture(0), ALL))
        while not batcher.busy:
            await asyncio.sleep(0.005)
        others = [asyncio.create_task(batcher.submit(picture(k), ALL)) for k in (1, 2, 3)]
        await asyncio.sleep(0)
        others[1].cancel()
        model.gate.set()
        await asyncio.wait([first, *others])
        return first.result(), others[0].result(), others[2].result()

    model = Model()
    assert [number(outcome) for outcome in run(model, work, batch=1, wait=0)] == [0, 1, 3]
    assert model.batches == [(ALL, [0]), (ALL, [1]), (ALL, [3])]


def test_an_error_reaches_only_the_one_it_is_of():
    async def work(batcher):
        tasks = [batcher.submit(picture(k), ALL) for k in range(4)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    good, bad, *more = run(Model(bad=(1,)), work)
    assert isinstance(bad, ValueError)
    assert [number(outcome) for outcome in (good, *more)] == [0, 2, 3]


def test_a_model_that_raises_does_not_end_the_line():
    calls = []

    def model(ask, images):
        calls.append(len(images))
        if len(calls) == 1:
            raise RuntimeError("broken")
        return [echo(image) for image in images]

    async def work(batcher):
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.submit(picture(7), ALL)
        return await batcher.submit(picture(8), ALL)

    assert number(run(model, work)) == 8


def test_what_is_in_the_line_at_the_end_is_still_done():
    model = Model()

    async def main():
        batcher = Batcher(model, batch=2, wait=5)
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(picture(k), ALL)) for k in range(5)]
        await asyncio.sleep(0)
        await batcher.drain()
        return [task.result() for task in tasks]

    assert [number(outcome) for outcome in asyncio.run(main())] == list(range(5))
