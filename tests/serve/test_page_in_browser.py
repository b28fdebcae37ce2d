"""The page in a real browser: what a person drops, drags, types and downloads."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stubs import CLASSES, CrowdDetector, candidates, plain, png

from gazehound.boxes.nms import batched_nms
from gazehound.reports.drawing import colour_of
from gazehound.serve.settings import Settings

expect = pytest.importorskip("playwright.sync_api").expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

HEIGHT, WIDTH = 300, 420
PICTURE = plain((90, 120, 70), HEIGHT, WIDTH)
FOUND = candidates(HEIGHT, WIDTH)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip
DROP = """([name, type, text]) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
    document.body.dispatchEvent(new DragEvent("dragover", options));
    document.body.dispatchEvent(new DragEvent("drop", options));
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def server(shared):
    return shared(CrowdDetector())


@pytest.fixture
def open_page(browser, server):
    """Open the page; at the end no message, fault or foreign request may have been seen."""
    seen, contexts = [], []

    def opened(client=server, expected_faults=0, **options):
        options = {"viewport": {"width": 900, "height": 640}, **options}
        context = browser.new_context(permissions=["camera"], **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        home = str(client.base_url)
        page.on("request", lambda r: seen.append(r.url) if not _ours(r.url, home) else None)
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("console", lambda message: seen.append(message.text))
        page.on("requestfailed", lambda r: seen.append(f"{r.url} {r.failure}"))
        page.goto(home)
        expect(page).to_have_title("stub · gazehound")
        page.expected_faults = expected_faults
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            allowed = page.expected_faults
            assert len([s for s in seen if "status of 4" in s]) == allowed, seen
        context.close()
    assert [s for s in seen if "status of 4" not in s] == []


def _ours(url, home):
    return url.startswith((f"{home}/", f"blob:{home}", "data:")) or url == home


def drop(page, data=None, name="field.png", kind="image/png"):
    text = base64.b64encode(png(PICTURE) if data is None else data).decode()
    page.evaluate(DROP, [name, kind, text])


def shown(page):
    page.wait_for_selector("#canvas:not([hidden])")
    return int(page.inner_text("#count"))


def slide(page, name, value):
    page.fill(f"#{name}", str(value))
    return int(page.inner_text("#count"))


def kept(score, iou, limit=60):
    """What the house's own NMS leaves of the candidates."""
    found = FOUND.above(score)
    return found.select(batched_nms(found.boxes, found.scores, found.labels, iou)[:limit])


def test_a_dropped_picture_shows_what_the_detector_finds(open_page, server):
    page = open_page()
    drop(page)
    own = server.post("/v1/detect?score=0.25", content=png(PICTURE)).json()["detections"]
    assert shown(page) == len(own) == len(kept(0.25, 0.45))
    label = page.get_attribute("#canvas", "aria-label")
    assert label.startswith("field.png: ")
    for name in CLASSES.names:
        count = sum(row["name"] == name for row in own)
        assert f"{count} {name}" in label
    expect(page.locator("#status")).to_have_text(label)  # what a screen reader says
    assert page.inner_text("#source") == f"field.png · {WIDTH} × {HEIGHT}"


def test_both_sliders_act_at_once_and_as_the_server_would(open_page):
    page = open_page()
    drop(page)
    shown(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    pairs = [(score, iou) for score in (0.02, 0.4, 0.8) for iou in (0.0, 0.3, 0.45, 0.7, 1.0)]
    counts = page.evaluate(
        """(pairs) => pairs.map((values) => {
            ["score", "iou"].forEach((name, k) => {
                const slider = document.getElementById(name);
                slider.value = values[k];
                slider.dispatchEvent(new Event("input", { bubbles: true }));
            });
            return Number(document.getElementById("count").textContent);
        })""",
        pairs,
    )
    assert counts == [len(kept(*pair)) for pair in pairs]
    assert len(set(counts)) > 5  # there was something to see
    assert asked == []  # nothing but arithmetic in the browser


def test_the_boxes_are_drawn(open_page):
    page = open_page(viewport={"width": 1200, "height": 800})
    drop(page)
    shown(page)
    slide(page, "score", 0.9)
    best = kept(0.9, 0.45)
    x1, _, _, y2 = best.boxes[0].tolist()  # the best one is drawn over all others
    colours = page.evaluate(
        """([points, width]) => {
            const canvas = document.getElementById("canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const scale = canvas.width / width;
            return points.map(([x, y]) => {
                const at = 4 * (Math.round(y * scale) * canvas.width + Math.round(x * scale));
                return [...data.slice(at, at + 3)];
            });
        }""",
        [[[2, 2], *([x1 + d, y2 - 20] for d in (-0.5, 0, 0.5))], WIDTH],
    )
    assert np.abs(np.subtract(colours[0], PICTURE[0, 0])).max() < 3
    own = colour_of(best.labels[0])
    assert min(np.abs(np.subtract(colour, own)).max() for colour in colours[1:]) < 40


def test_the_class_filter_counts_and_hides(open_page):
    page = open_page()
    drop(page)
    total = shown(page)
    count = [int(np.sum(kept(0.25, 0.45).labels == label)) for label in range(3)]
    chips = page.locator(".chip")
    assert chips.all_inner_texts() == [f"{CLASSES.names[k]}\n{count[k]}" for k in range(3)]
    page.get_by_role("checkbox", name="dog").uncheck()
    assert int(page.inner_text("#count")) == total - count[1]
    page.get_by_role("button", name="none of the classes").click()
    assert page.inner_text("#count") == "0"
    page.get_by_role("button", name="all classes").click()
    assert int(page.inner_text("#count")) == total


def test_json_and_picture_can_be_downloaded(open_page, tmp_path):
    page = open_page()
    drop(page)
    shown(page)
    slide(page, "score", 0.6)
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download JSON").click()
    assert coming.value.suggested_filename == "field.json"
    document = json.loads(Path(coming.value.path()).read_text(encoding="utf-8"))
    expected = kept(0.6, 0.45)
    image = {"id": 1, "file_name": "field.png", "width": WIDTH, "height": HEIGHT}
    assert document["images"] == [image]
    assert document["categories"][2] == {"id": 90, "name": "red [fox]"}
    rows = document["annotations"]
    assert [row["category_id"] for row in rows] == [CLASSES.ids[k] for k in expected.labels]
    x1, y1, x2, y2 = expected.boxes.T
    boxes = [row["bbox"] for row in rows]
    np.testing.assert_allclose(boxes, np.stack([x1, y1, x2 - x1, y2 - y1], 1), atol=1e-3)
    np.testing.assert_allclose([row["score"] for row in rows], expected.scores, atol=1e-6)

    with page.expect_download() as coming:
        page.keyboard.press("p")
    assert coming.value.suggested_filename == "field-detections.png"
    with Image.open(coming.value.path()) as drawn:
        assert drawn.size == (WIDTH, HEIGHT)
        changed = (np.asarray(drawn.convert("RGB")) != PICTURE).any(axis=2)
    assert 0.01 < changed.mean() < 0.9


def test_everything_can_be_reached_from_the_keyboard(open_page):
    page = open_page()
    drop(page)
    before = shown(page)
    page.keyboard.press("]")
    assert page.input_value("#score") == "0.27"
    page.focus("#score")
    page.keyboard.press("End")
    assert page.inner_text("#count") == "0"
    page.fill("#score", "0.25")
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    best = kept(0.25, 0.45)
    chosen = page.locator("#list [aria-current=true]")
    assert chosen.get_attribute("aria-label").startswith(
        f"{best.names[1]}, score {best.scores[1]:.2f}"
    )
    chosen.focus()
    page.keyboard.press("ArrowUp")
    assert page.locator("#list li").first.locator("[aria-current=true]").count() == 1
    page.keyboard.press("Escape")
    assert chosen.count() == 0
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.do"))
    assert reached >= {"canvas", "score", "iou", "json", "png", "choose", "camera", "help-open"}
    assert shown(page) == before
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input:not([hidden])")]
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).length""")
    assert unnamed == 0
    page.evaluate("document.getElementById('keys').click()")  # single keys can be switched off
    page.keyboard.press("]")
    assert page.input_value("#score") == "0.25"


def test_a_file_that_the_browser_cannot_read_is_shown_all_the_same(open_page):
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, "TIFF")
    page = open_page()
    with page.expect_response("**/v1/preview") as answer:
        drop(page, stream.getvalue(), "scan.tif", "image/tiff")
    assert answer.value.ok
    assert shown(page) == len(kept(0.25, 0.45))


def test_what_is_wrong_is_said(open_page):
    page = open_page(expected_faults=1)
    drop(page, b"no picture")
    page.wait_for_selector("#alert:not([hidden])")
    assert page.inner_text("#alert").startswith("The image cannot be read: ")
    drop(page)
    shown(page)
    assert page.locator("#alert").is_hidden()


def test_a_model_without_nms_of_its_own_says_so(open_page, serve):
    page = open_page(serve(CrowdDetector("rectangles")))
    assert page.inner_text("#iou-value") == "off"
    assert "a way of its own" in page.inner_text("#iou-hint")
    drop(page)
    assert shown(page) == sum(FOUND.scores[:60] >= 0.25)


def test_candidates_that_were_left_out_are_owned_up_to(open_page, serve):
    page = open_page(serve(CrowdDetector(), Settings(candidates=20)))
    drop(page)
    shown(page)
    hint = page.inner_text("#score-hint")
    assert hint.startswith(f"Under {FOUND.scores[19]:.2f} some are missing")


def test_the_camera_goes_on_freezes_and_stops(open_page):
    page = open_page()
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_selector("#live:not([hidden])")
    expect(page.locator("#timing")).to_contain_text("pictures a second")
    assert page.inner_text("#source").startswith("camera.jpg · ")
    page.get_by_role("button", name="Freeze").click()
    assert page.locator("#live").is_hidden()
    page.get_by_role("button", name="Stop camera").click()
    assert page.get_attribute("#camera", "aria-pressed") == "false"
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_nothing_sticks_out_on_any_screen_in_light_and_dark(open_page):
    page = open_page(color_scheme="dark", has_touch=True)
    look = """() => ({
        sticksOut: document.documentElement.scrollWidth > innerWidth,
        small: [...document.querySelectorAll("button")].filter((button) => {
            const room = button.getBoundingClientRect();
            return room.width && Math.min(room.width, room.height) < 24;  // WCAG 2.2, target size
        }).length,
        ground: getComputedStyle(document.body).backgroundColor,
    })"""

    def looks_well(dark):
        for width in (320, 390, 768, 1360):
            page.set_viewport_size({"width": width, "height": 780})
            seen = page.evaluate(look)
            assert not seen["sticksOut"], width
            assert seen["small"] == 0, width
        assert (sum(map(int, seen["ground"][4:-1].split(","))) < 150) == dark

    looks_well(dark=True)
    drop(page)
    shown(page)
    page.get_by_role("button", name="Colours: as the system").click()
    looks_well(dark=False)


def test_suppression_and_colours_are_the_house_s_own(open_page):
    """The same rows as our NMS, ties and IoUs exactly at the threshold included."""
    page = open_page()
    rng = np.random.default_rng(3)
    for kind in ("grid", "real", "flat"):
        count = 300
        corner = rng.uniform(0, 60, (count, 2))
        sides = rng.uniform(1, 30, (count, 2))
        if kind != "real":
            corner, sides = np.rint(corner / 4) * 4, np.rint(sides / 4) * 4 * (kind != "flat")
        boxes = np.concatenate([corner, corner + sides], 1).astype(np.float32)
        scores = np.sort(np.round(rng.uniform(0, 1, count), 2).astype(np.float32))[::-1]
        labels = rng.integers(0, 3, count)
        rows = [
            {"box": box, "score": float(score), "label": int(label), "k": k}
            for k, (box, score, label) in enumerate(
                zip(boxes.tolist(), scores, labels, strict=True)
            )
        ]
        thresholds = [0.0, 0.1, 0.25, 1 / 3, 0.3, 0.5, 0.6, 2 / 3, 0.9, 1.0]
        got = page.evaluate(
            """async ([rows, thresholds]) => {
                const { suppress } = await import("/page/suppression.js");
                return thresholds.map((iou) => suppress(rows, iou).map((row) => row.k));
            }""",
            [rows, thresholds],
        )
        for iou, kept_rows in zip(thresholds, got, strict=True):
            assert kept_rows == batched_nms(boxes, scores, labels, iou).tolist(), (kind, iou)
    got = page.evaluate("""async () => {
        const { colourOf } = await import("/page/drawing.js");
        return [...Array(100).keys()].map(colourOf);
    }""")
    expected = [colour_of(label) for label in range(100)]
    assert np.abs(np.subtract(got, expected)).max() <= 1  # Python rounds halves to even
