"""Boxes before suppression: NMS over them must be what the detector itself does, or nothing is promised."""

import dataclasses

import numpy as np
import torch
from stubs import CrowdDetector

import gazehound
from gazehound.boxes.nms import batched_nms
from gazehound.catalog import BY_NAME
from gazehound.serve.candidates import is_plain, loosened, suppression_of
from gazehound.serve.engine import warm_up_picture

PICTURE = warm_up_picture()


def network(name):
    torch.manual_seed(0)
    detector = gazehound.create(name, ("a", "b", "c"), **BY_NAME[name].tiny).detector
    detector.preprocess = dataclasses.replace(detector.preprocess, resize="longer", size=128)
    return detector


def test_nms_over_the_candidates_of_a_network_is_its_own_answer():
    detector = network("yolov3_tiny")
    detector.limits = dataclasses.replace(detector.limits, score=0.0, per_image=10_000)
    before = detector.limits
    rule = suppression_of(detector)
    own = detector.predict([PICTURE], score=0.0)[0]
    rows = loosened(detector, 0.0, 10_000).predict([PICTURE], score=0.0)[0]
    assert len(rows) > 1.3 * len(own) > 0
    kept = rows.select(batched_nms(rows.boxes, rows.scores, rows.labels, rule.iou))
    assert abs(len(kept) - len(own)) <= 0.01 * len(own)  # an IoU at the threshold may round
    assert np.allclose(kept.scores[:20], own.scores[:20])
    assert is_plain(detector, PICTURE)
    assert detector.limits == before


def test_a_network_that_moves_boxes_after_nms_is_found_out():
    paa = network("paa_r18")
    assert suppression_of(paa).plain  # so it says; but its boxes vote afterwards
    assert not is_plain(paa, PICTURE)
    paa.voting = False
    assert is_plain(paa, PICTURE)


def test_limits_of_another_kind_promise_nothing():
    assert not suppression_of(network("centernet_r18")).plain


def test_classical_detectors():
    assert is_plain(gazehound.load("hog-person").detector, PICTURE)
    assert not is_plain(gazehound.load("viola-jones-face").detector, PICTURE)
    crowd = CrowdDetector()
    assert is_plain(crowd, PICTURE)
    assert (crowd.grouping, crowd.limit) == ("nms", 60)  # not changed
    rows = loosened(crowd, 0.0, 30).predict([PICTURE])[0]
    assert len(rows) == 30


def test_a_rule_that_is_not_what_it_says_is_found_out():
    class Agnostic(CrowdDetector):
        def _detect(self, image, score):
            found = super()._detect(image, score)
            if self.grouping == "nms":  # classes suppress each other here
                one = np.zeros_like(found.labels)
                return found.select(batched_nms(found.boxes, found.scores, one, self.overlap))
            return found

    assert not is_plain(Agnostic(), PICTURE)
