"""``gazehound evaluate`` as its user meets it: table, JSON, report, and one line for every mistake."""

import json

import pytest
from typer.testing import CliRunner

from gazehound.cli.app import app
from gazehound.errors import ConfigError, DataError

KEYS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


@pytest.fixture
def case(tmp_path):
    boxes = [[10.0, 10.0, 30.0, 30.0], [60.0, 20.0, 50.0, 50.0]]
    truth = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 128, "height": 128} for i in (4, 7)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": i * 2 + k + 1, "image_id": image, "category_id": (3, 9)[k], "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
            for i, image in enumerate((4, 7))
            for k, box in enumerate(boxes)
        ],
    }  # fmt: skip
    found = [
        {
            "image_id": r["image_id"],
            "category_id": r["category_id"],
            "bbox": r["bbox"],
            "score": 0.9,
        }
        for r in truth["annotations"][:3]
    ] + [{"image_id": 7, "category_id": 3, "bbox": [60.0, 20.0, 50.0, 50.0], "score": 0.8}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], catch_exceptions=False)


def files(case):
    return "-a", case / "truth.json", "--detections", case / "found.json"


def test_table_and_json(case):
    result = run(*files(case), "--json", case / "out" / "numbers.json")
    assert result.exit_code == 0
    assert "AP50" in result.output
    assert "cat" in result.output
    numbers = json.loads((case / "out/numbers.json").read_text())
    assert [key for key in numbers if key in KEYS] == KEYS
    assert numbers["AP"] == pytest.approx((1 + 51 / 101) / 2)
    assert numbers["APl"] is None
    assert [row["name"] for row in numbers["classes"]] == ["cat", "dog"]
    assert numbers["classes"][0]["best"] == {"score": 0.9, "precision": 1, "recall": 1, "F1": 1}
    assert numbers["mistakes"]["counts"]["classification"] == 1
    assert numbers["confusion"]["counts"] == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("protocol", ["voc07", "voc", "kitti"])
def test_other_protocols(case, protocol):
    out = case / "numbers.json"
    assert run(*files(case), "-p", protocol, "--json", out).exit_code == 0
    numbers = json.loads(out.read_text())
    assert numbers["protocol"] == protocol
    assert "AP" in numbers


def test_the_difference_is_explained(case):
    result = run(*files(case), "--explain-difference", "voc07", "coco")
    assert "voc07 gives" in result.output
    assert "11 recalls becomes precision read at 101 recalls" in result.output
    assert "coco gives 75.25 AP." in result.output


def test_comparison_with_other_detections(case):
    found = json.loads((case / "found.json").read_text())
    (case / "other.json").write_text(json.dumps(found[:1]))
    result = run(*files(case), "--compare", case / "other.json", "--draws", 30)
    assert "-50.00 AP" in result.output


def test_report_is_one_file_with_pictures(case):
    from PIL import Image

    for name in ("4.png", "7.png"):
        Image.new("RGB", (128, 128), (90, 120, 150)).save(case / name)
    report = case / "report.html"
    words = ["--report", report, "--images", case, "--draws", 20]
    result = run(*files(case), *words, "--explain-difference", "voc07", "coco")
    assert result.exit_code == 0
    page = report.read_text()
    assert page.count("data:image/jpeg") == 1
    assert "wrong class (dog)" in page
    for heading in (
        "Curves",
        "What the mistakes cost",
        "Confusion",
        "Classes",
        "Why voc07 and coco",
    ):
        assert heading in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert 'src="data:' in page


def test_report_without_pictures_says_so(case):
    report = case / "report.html"
    run(*files(case), "--report", report, "--draws", 5)
    assert "Say where they are with --images" in report.read_text()


def test_report_of_nothing(case):
    (case / "found.json").write_text("[]")
    report = case / "report.html"
    assert run(*files(case), "--report", report, "--draws", 5).exit_code == 0
    truth = json.loads((case / "truth.json").read_text())
    (case / "truth.json").write_text(json.dumps({**truth, "annotations": []}))
    assert "undefined" in run(*files(case), "--report", report, "--draws", 5).output
    assert "every number is undefined" in report.read_text()


def test_a_voc_data_set_with_text_detections(real_data, tmp_path):
    from gazehound.data import open_dataset

    dataset = open_dataset(real_data / "bccd", "val")
    for i in range(len(dataset)):
        sample = dataset.annotations(i)
        lines = [
            f"{dataset.classes.names[label]} 0.9 {' '.join(map(str, box))}"
            for label, box in zip(sample.labels, sample.boxes.tolist(), strict=True)
        ]
        (tmp_path / f"{sample.image_id}.txt").write_text("\n".join(lines))
    out = tmp_path / "numbers.json"
    result = run(
        "--data", real_data / "bccd", "--split", "val", "--detections", tmp_path, "-p", "voc07",
        "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0
    assert json.loads(out.read_text())["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the truths once"),
        (["-a", "x.json"], "give the detections once"),
        (["model", "-a", "x.json"], "a MODEL needs pictures"),
        (["-a", "x.json", "--detections", "y.json", "--split", "val"], "--split belongs to --data"),
    ],
)
def test_options_that_do_not_go_together(words, message):
    with pytest.raises(ConfigError, match=message):
        run(*words)


def test_a_wrong_file_is_one_line(case):
    (case / "found.json").write_text('[{"image_id": 1}]')
    with pytest.raises(DataError, match=r"found.json: \[0\]: has no 'bbox'"):
        run(*files(case))


def test_a_detector_stands_in_for_detections(case, tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image

    from gazehound import model
    from gazehound.metrics import Evaluation
    from gazehound.records import Detections

    for name in ("4.png", "7.png"):
        Image.new("RGB", (128, 128)).save(tmp_path / name)

    class Cheat:
        """Finds every truth of the data set that it is asked about."""

        def evaluate(self, dataset, batch, progress):
            evaluation = Evaluation(dataset.classes)
            for i in range(len(dataset)):
                truth = dataset.annotations(i)
                scores = np.full(len(truth), 0.5, np.float32)
                found = Detections(truth.boxes, scores, truth.labels, dataset.classes, truth.size)
                evaluation.add(truth, found)
            return evaluation

    monkeypatch.setattr(model, "load", lambda name: Cheat())
    report = tmp_path / "report.html"
    result = run("cheat.safetensors", "--data", tmp_path / "truth.json", "--report", report)
    assert result.exit_code == 0
    assert "100.0  100.0" in result.output
    assert "cheat.safetensors on truth.json" in report.read_text()
