"""The site: figures are drawn, what pages take from the code is there, nothing is asked of other hosts."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from blocks import ROOT

sys.path.insert(0, str(ROOT / "docs" / "building"))

import figures
import hooks
from pictograms import PICTOGRAMS

from gazehound.catalog import ENTRIES

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DETECTORS = [page for page in PAGES if page.parent.name == "detectors" and page.stem != "index"]


def rendered(page):
    text = page.read_text(encoding="utf-8")
    file = SimpleNamespace(src_uri=str(page.relative_to(ROOT / "docs")))
    return hooks.on_page_markdown(text, SimpleNamespace(file=file))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_everything_that_a_page_takes_from_elsewhere_is_there(page):
    left = re.findall(r"<!-- (?!run -->)\w.*-->|^```figure", rendered(page), re.MULTILINE)
    assert not left


@pytest.mark.parametrize("page", DETECTORS, ids=lambda page: page.stem)
def test_a_detector_has_a_figure_its_code_and_all_parts_of_its_page(page):
    text = rendered(page)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["What was new", "In the code", "Variants", "Deviations", "Results"]
    assert text.count("<svg") == 1
    assert 'title="src/gazehound/' in text


def test_every_model_of_the_catalogue_is_on_one_page():
    told = [
        entry.name
        for page in DETECTORS
        for _, modules in re.findall(
            r"<!-- (variants): (.+?) -->", page.read_text(encoding="utf-8")
        )
        for entry in hooks.entries_of(modules)
    ]
    assert sorted(told) == sorted(entry.name for entry in ENTRIES)


def test_every_page_of_a_detector_is_in_the_list_of_all():
    listed = (ROOT / "docs/detectors/index.md").read_text(encoding="utf-8")
    assert all(f"({page.name})" in listed for page in DETECTORS)


@pytest.mark.parametrize("name", PICTOGRAMS)
def test_pictograms_are_sound_and_stay_in_their_field(name):
    from xml.etree import ElementTree

    drawn = ElementTree.fromstring(f"<svg>{PICTOGRAMS[name]()}</svg>")
    assert len(drawn) > 1
    for box in drawn.iter("rect"):
        x, y, w, h = (float(box.get(key)) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + w <= 100.5
        assert y >= -0.5
        assert y + h <= 52.5


def test_a_figure_says_what_it_cannot_draw():
    with pytest.raises(figures.FigureError, match="unknown pictogram"):
        figures.draw("a @ 0,0 portrait | a")
    with pytest.raises(figures.FigureError, match="neither a card nor a way"):
        figures.draw("a @ 0,0 image | a\na -> b")
    assert figures.draw("a @ 0,0 image | x < y").count("x &lt; y") == 2


def test_results_are_rows_or_a_plain_no():
    assert "0.583" in hooks.results("gazehound.detectors.retinanet")
    assert hooks.results("gazehound.detectors.dpm").startswith("Not measured yet")
    with pytest.raises(hooks.PageError, match="no deviation"):
        hooks.deviations("RetinaNet, colour of the sky")


@pytest.mark.slow
def test_the_site_builds_and_asks_nothing_of_other_hosts(tmp_path):
    pytest.importorskip("material")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r'<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)="(https?:)?//', text
        )
        assert not loaded, page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(
            r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")
        )
