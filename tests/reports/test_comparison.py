"""The comparison: who is ahead, whether that is sure, and a page that says so by itself."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from gazehound.catalog import find
from gazehound.data.shapes import shapes
from gazehound.errors import DataError
from gazehound.metrics import Evaluation, compare, evaluate_coco, evaluate_voc
from gazehound.records import Classes, Detections
from gazehound.reports.comparison import count, duration, write_comparison
from gazehound.reports.comparison_charts import Dot, _label_place, log_ticks, speed_chart
from gazehound.reports.comparison_gallery import choose, gallery
from gazehound.reports.standings import Contender, Cost, as_record, rank, restricted

NAMES = ("circle", "square", "star")


@pytest.fixture(scope="module")
def dataset():
    scenes = shapes(24, 3, size=(64, 80), classes=NAMES, objects=(1, 3), scale=(0.2, 0.5))
    return replace(scenes, name="shapes <b>", split="val")


def contender(dataset, name, shift, *, entry=None, judged=NAMES, drop=0.0, cost=None):
    """A detector that finds the truths, moved by so many pixels, and forgets some of them."""
    random = np.random.default_rng(5)
    evaluation = Evaluation(dataset.classes)
    for row in range(len(dataset)):
        sample = dataset.annotations(row)
        keep = random.random(len(sample)) >= drop
        sample_kept = sample.select(keep)
        scores = np.sort(random.uniform(0.3, 0.9, len(sample_kept)))[::-1]
        found = Detections(
            np.float32(sample_kept.boxes + shift), np.float32(scores), sample_kept.labels,
            dataset.classes, sample.size, sample.image_id,
        )  # fmt: skip
        evaluation.add(sample, found)
    cost = cost or Cost(1000, None, 12.5, 2**20, 3.0)
    return Contender(name, entry, evaluation.tables, judged, cost)


@pytest.fixture(scope="module")
def rows(dataset):
    contenders = [
        contender(dataset, "far off", 9.0, entry=find("viola-jones")),
        contender(dataset, "exact", 0.0, entry=find("yolox_nano"), cost=Cost(9e5, 1e9, 4.0)),
        contender(dataset, "twin", 0.0, entry=find("hog-svm")),
        contender(dataset, "stars <i>", 1.0, judged=("star",), drop=0.4),
    ]
    return rank(contenders, draws=100)


def test_the_best_is_first_by_the_protocol_itself(dataset, rows):
    values = [row.scores["AP"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert rows[-1].contender.name == "far off"
    for row in rows:
        tables = restricted(row.contender.tables, row.contender.judged)
        assert row.scores["AP"] == evaluate_coco(tables).summary["AP"]
        assert row.interval.low <= row.scores["AP"] <= row.interval.high
    (voc,) = rank([rows[1].contender], "voc07", draws=0)
    expected = evaluate_voc(rows[1].contender.tables, eleven_points=True).summary["AP"]
    assert voc.scores["AP"] == expected
    assert (voc.interval, voc.gain) == (None, None)


def test_a_gain_is_real_or_it_is_not(rows):
    by_name = {row.contender.name: row for row in rows}
    assert rows[0].contender.name == "exact"  # the order of equals is that of the command line
    assert rows[0].gain.over == "twin"
    assert rows[0].gain.real is False
    last_but_one = rows[-2]
    assert last_but_one.gain.real is True
    assert last_but_one.gain.comparison.difference.value > 0.1
    assert by_name["far off"].gain is None
    one, other = by_name["twin"], by_name["stars <i>"]
    assert one.gain.classes == ("star",)  # what both are judged on
    expected = compare(
        *(restricted(row.contender.tables, ("star",)) for row in (other, one)), draws=100
    )
    assert one.gain.comparison.p_value == expected.p_value


def test_restricted_tables_are_those_of_a_smaller_data_set(dataset):
    whole = contender(dataset, "some", 2.0, drop=0.3).tables
    few = restricted(whole, ("star", "circle"))
    assert few.classes.names == ("star", "circle")
    expected = evaluate_coco(whole)
    result = evaluate_coco(few)
    for label, name in enumerate(few.classes.names):
        at = whole.classes.names.index(name)
        assert result.per_class[label]["AP"] == expected.per_class[at]["AP"]
        assert result.per_class[label]["truths"] == expected.per_class[at]["truths"]
    assert restricted(whole, whole.classes.names) is whole


def test_other_images_cannot_be_compared(dataset):
    fewer = dataset.subset(range(5))
    pair = [contender(dataset, "a", 0.0), contender(fewer, "b", 0.0)]
    with pytest.raises(DataError, match="a and b have not seen the same images"):
        rank(pair, draws=0)


def test_the_gallery_shows_where_they_disagree(dataset, rows):
    spread = np.zeros(10)
    spread[[3, 7]] = 0.5, 0.9
    assert choose(spread, 4) == sorted({3, 7, 0, 9})
    assert choose(spread, 99) == list(range(10))
    shots = gallery(rows, dataset, 4)
    assert len(shots) == 4
    for shot in shots:
        exact, far = shot.views[0], shot.views[-1]
        assert exact.f1 == 1.0
        assert "missed" not in exact.boxes
        truths = shot.truths.count("<rect")
        found = int(exact.words.split(" of ")[0])
        assert exact.boxes.count('class="right"') == found == truths
        rights = far.boxes.count('class="right"')
        assert far.boxes.count('class="missed"') == truths - rights


def test_the_page_holds_everything_and_asks_nobody(dataset, rows, tmp_path):
    file = tmp_path / "new" / "comparison.html"
    write_comparison(
        file, rows, dataset, facts={"Budget": "none"}, failed={"dpm": "no <parts>"}, pictures=3,
        command="gazehound compare ...",
    )  # fmt: skip
    page = file.read_text()
    outside = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", re.sub(r"base64,[^\"]+", "", page))
    assert {where.rpartition("/")[2] for where in outside} <= {"www.w3.org"}
    for text in ("shapes &lt;b&gt;", "stars &lt;i&gt;", "no &lt;parts&gt;", "may be chance", "real",
                 "knows 1 of the 3 classes", "cannot tell it from twin"):  # fmt: skip
        assert text in page, text
    assert "<b>shapes" not in page
    assert "stars <i>" not in page
    assert page.count('class="shot"') == 3
    assert page.count("<tr data-model=") == len(rows)
    assert [int(y) for y in re.findall(r'class="year">(\d+)<', page)] == [2001, 2005, 2021]


def test_the_record_is_plain(rows):
    record = as_record(rows[0])
    assert record["detector"] == "yolox_nano"
    assert record["flops"] == 1e9
    assert set(record["gain"]) >= {"over", "difference", "low", "high", "p_value", "real"}
    assert as_record(rows[-1])["gain"] is None


def test_numbers_in_words():
    assert [count(v) for v in (None, 950, 14428, 4.115e9)] == ["–", "950", "14.4 k", "4.12 G"]
    assert [duration(v) for v in (None, 4.25, 42.0, 600, 9000)] == [
        "–", "4.2 s", "42 s", "10 min", "2.5 h",
    ]  # fmt: skip


def test_axes_and_names_of_a_chart(rows):
    assert log_ticks(3, 60) == [5, 10, 20, 50]
    assert log_ticks(240, 750) == [300, 400, 500, 700]
    assert log_ticks(0.5, 5000) == [1, 10, 100, 1000]
    taken = [(93, 93, 107, 107), (80, 93, 180, 107)]  # the dot, and something to its right
    anchor, _, _, box = _label_place(100, 100, "hog", taken)
    assert not any(box[0] < c and a < box[2] and box[1] < d and b < box[3] for a, b, c, d in taken)
    assert anchor in ("start", "end", "middle")
    assert Dot(0, "a", 1.0, 2.0).ends is None
    chart = speed_chart(rows)
    assert chart.count("<circle") == len(rows)
    assert "stars &lt;i&gt;" in chart


def test_without_truths_nobody_is_ahead(tmp_path):
    empty = shapes(2, 0, size=(64, 64), classes=NAMES, empty=1.0)
    one = contender(empty, "idle", 0.0, entry=find("dpm"))
    ranked = rank([one], draws=20)
    assert ranked[0].scores["AP"] is None
    write_comparison(tmp_path / "page.html", ranked, empty, pictures=2)
    assert "nobody is ahead" in (tmp_path / "page.html").read_text()
    assert Classes(NAMES).names == one.judged


def test_a_click_or_a_key_changes_the_detector(dataset, rows, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    write_comparison(tmp_path / "page.html", rows, dataset, pictures=2)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        shown = page.locator(".switch [aria-pressed=true]")
        seen = page.locator(".shot:first-child svg .shown")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out
        for act, place in (
            (lambda: page.keyboard.press("3"), 2),
            (lambda: page.keyboard.press("ArrowLeft"), 1),
            (lambda: page.locator(".shot").first.click(), 2),
            (lambda: page.get_by_role("button", name="twin").click(), 1),
        ):
            act()
            assert shown.get_attribute("data-show") == str(place)
            assert seen.get_attribute("data-view") == str(place)
        page.keyboard.press("0")
        assert seen.count() == 0  # truths only
        page.locator("th", has_text="ms").click()
        first = page.locator(".board tbody tr").first
        assert first.locator(".who").inner_text().strip() != "exact"  # it is the fastest
        assert not faults
        browser.close()
