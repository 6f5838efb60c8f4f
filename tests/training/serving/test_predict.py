"""Boxes of image files in four forms; large scenes by windows; answers are those of the engine and of eval."""

import json
from functools import partial

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from rasterio.transform import from_origin

from cli import main
from mmrs.errors import UserError
from mmrs.instructions.answers import box_spans
from mmrs.instructions.dialects import dialect
from mmrs.progress import Progress
from training.model.inputs.conversation import Conversation
from training.serving.engine import Finished, Sampling
from training.serving.found_boxes import found_boxes
from training.serving.pictures import images_of_paths, open_file
from training.serving.predict import PredictOptions, planned, predict, run_predict

QUIET = Progress(quiet=True)
QUESTION = "Please detect all objects in this image."


class Told:
    """An engine whose answer is a function of the picture."""

    most_running = 3

    def __init__(self, answer, log_probability=lambda text: -0.1):
        self._answer, self._log_probability = answer, log_probability
        self.asked = 0

    def submit(self, conversation, sampling, deliver):
        self.asked += 1
        text = self._answer(conversation.images[0][0])
        sure = (self._log_probability(text),) * len(text) if sampling.log_probabilities else ()
        deliver(Finished(text, "stop", 1, 1, tuple(text) if sure else (), sure))


def bright_box(picture):
    """The one bright rectangle of a picture, as a model would say it."""
    rows, columns = np.nonzero(np.asarray(picture.convert("L")) > 200)
    if not len(rows):
        return "There are no objects in the image."
    box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    from mmrs.geometry import SquareFrame

    return f"There is <p>one ship</p>{dialect('mmrs').format_hbb(box, SquareFrame(*picture.size))} in the image."


def write_geotiff(path, size, boxes):
    pixels = np.full((size, size), 60, np.uint8)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = 255
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8", "tiled": True}
    with rasterio.open(path, "w", crs="EPSG:32650", transform=from_origin(500_000, 4_000_000, 2, 2), **profile) as file:
        file.write(pixels, 1)


def test_a_scene_is_asked_by_windows_and_every_object_is_found_once(tmp_path):
    boxes = [(40, 40, 70, 60), (480, 100, 530, 140), (900, 930, 960, 990)]
    path = tmp_path / "scene.tif"
    write_geotiff(path, 1000, boxes)
    options = PredictOptions(window=400, overlap=150)
    image, engine = open_file(path), Told(bright_box)
    found = predict(engine, image, options, dialect("mmrs"), lambda done: None)
    assert engine.asked == len(planned(image, options)) > 4
    hulls = sorted((*quad.min(0), *quad.max(0)) for quad in found.boxes.quads_N42)
    np.testing.assert_allclose(hulls, sorted(boxes), atol=1.0)
    assert found.boxes.names == ("ship",) * 3
    assert found.boxes.confidences_N == pytest.approx(np.exp([-0.1] * 3))


def test_boxes_that_are_not_sure_enough_are_left_out(tmp_path):
    """In one window the model is unsure; what another says of the same scene stays."""
    path = tmp_path / "scene.tif"
    write_geotiff(path, 1000, [(40, 40, 70, 60), (900, 930, 960, 990)])
    image = open_file(path)
    unsure = Told(bright_box, lambda text: -3.0 if "[0.1" in text else -0.1)
    both = predict(unsure, image, PredictOptions(window=400, overlap=150), dialect("mmrs"), lambda done: None)
    sure = PredictOptions(window=400, overlap=150, min_confidence=0.5)
    one = predict(unsure, image, sure, dialect("mmrs"), lambda done: None)
    assert sorted(np.round(both.boxes.confidences_N, 3)) == [0.05, 0.905]
    assert one.boxes.confidences_N == pytest.approx([np.exp(-0.1)]) and one.texts == both.texts
    whole = PredictOptions(window=0, min_confidence=0.95)
    assert predict(unsure, image, whole, dialect("mmrs"), lambda done: None).boxes.names == ()


def test_the_four_forms(tmp_path, scene):
    class Quiet:
        def stage(self, *arguments):
            import contextlib

            return contextlib.nullcontext(lambda done: None)

    write_geotiff(tmp_path / "scene.tif", 200, [(20, 40, 60, 80)])
    Image.new("L", (50, 30), 9).save(tmp_path / "empty.png")
    out = tmp_path / "out"
    said = run_predict(
        Told(bright_box),
        [tmp_path / "empty.png", tmp_path / "scene.tif"],
        out,
        PredictOptions(),
        dialect("mmrs"),
        Quiet(),
    ).text
    assert "1 boxes in 2 images" in said and "1 geojson" in said
    stored = json.loads((out / "predictions.json").read_text())
    assert stored["prompt"] == QUESTION and [len(each["boxes"]) for each in stored["images"]] == [0, 1]
    coco = json.loads((out / "coco.json").read_text())
    (annotation,) = coco["annotations"]
    assert annotation["bbox"] == pytest.approx([20, 40, 40, 40], abs=0.3) and annotation["image_id"] == 2
    assert annotation["score"] == pytest.approx(0.9048, abs=1e-4) == stored["images"][1]["boxes"][0]["confidence"]
    assert annotation["area"] == pytest.approx(1600, rel=0.02) and coco["categories"] == [{"id": 1, "name": "ship"}]
    assert (out / "dota" / "empty.txt").read_text() == ""
    words = (out / "dota" / "scene.txt").read_text().split()
    assert words[8:] == ["ship", "0"] and [float(word) for word in words[:2]] == pytest.approx([20, 40], abs=0.3)
    ground = json.loads((out / "geojson" / "scene.geojson").read_text())
    assert ground["features"][0]["properties"] == {"name": "ship", "confidence": annotation["score"]}
    assert ground["crs"]["properties"]["name"] == "EPSG:32650"
    ring = np.array(ground["features"][0]["geometry"]["coordinates"][0])
    np.testing.assert_allclose(ring.min(0), [500_040, 4_000_000 - 160], atol=1)
    np.testing.assert_allclose(ring.max(0), [500_120, 4_000_000 - 80], atol=1)
    assert (ring[0] == ring[-1]).all() and not (out / "geojson" / "empty.geojson").exists()


@pytest.mark.parametrize("name", ["predictions.json", "coco.json", "dota/scene.txt", "geojson/scene.geojson"])
@pytest.mark.parametrize("is_link", [False, True])
def test_other_people_s_files_are_refused_before_the_work_and_earlier_predictions_replaced(tmp_path, name, is_link):
    write_geotiff(tmp_path / "scene.tif", 200, [(20, 40, 60, 80)])
    out, engine = tmp_path / "out", Told(bright_box)
    run = partial(run_predict, engine, [tmp_path / "scene.tif"], out, PredictOptions(), dialect("mmrs"), QUIET)
    run()
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first and len(first) == 4
    asked = engine.asked
    if name.startswith(("dota", "geojson")) and not is_link:
        # Not among what the predictions that are there list.
        listed = json.loads((out / "predictions.json").read_text())
        listed["images"][0]["file"] = "other.tif"
        (out / "predictions.json").write_text(json.dumps(listed))
    (out / name).unlink()
    mine = out / name
    if is_link:
        mine = tmp_path / "mine"
        (out / name).symlink_to(mine)
    mine.write_text("all that I wrote in three years")
    with pytest.raises(FileExistsError, match="nothing is replaced"):
        run()
    assert mine.read_text() == "all that I wrote in three years" and engine.asked == asked


def test_the_command_answers_as_the_engine_does(served_folder, engine, scene, tmp_path):
    (tmp_path / "images").mkdir()
    scene.save(tmp_path / "images" / "scene.png")
    words = ["predict", served_folder, tmp_path / "images", "--out", tmp_path / "out", "--max-tokens", 12]
    done = CliRunner().invoke(main, [*map(str, words), "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    boxes = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"][0]["boxes"]
    assert all(0 < box["confidence"] < 1 for box in boxes)
    expected = list(engine.answer(Conversation((("human", QUESTION),), ((scene,),)), Sampling(12)))[-1].text
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["images"][0]["texts"] == [expected]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["absent.png"], "there is no image"),
        (["empty"], "holds no image"),
        (["a.txt"], "a.txt"),
        (["a.png", "--class", "ship", "--task", "captioning"], "--class goes with a detection task"),
        (["a.png", "--min-confidence", "0.5", "--task", "captioning"], "--min-confidence goes with a detection task"),
        (["a.png", "--window", "100", "--overlap", "100"], "set less than --window"),
        (["a.png", "--dialect", "mmrs2"], "dialect 'mmrs2' is not known"),
    ],
)
def test_mistakes_end_with_what_to_do(served_folder, tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("no image")
    Image.new("L", (5, 5)).save(tmp_path / "a.png")
    done = CliRunner().invoke(main, ["predict", str(served_folder), *words, "--out", "out", "--device", "cpu"])
    assert done.exit_code == 2 and reason in done.output


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_asked_about(served_folder, scene, tmp_path):
    """A foreign file, one whose header is sound and whose pixels are cut off; the exit code says so at the end."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "c"):
        scene.save(folder / f"{name}.png")
    whole = (folder / "c.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "d.jpg").write_text("no image")
    words = ["predict", served_folder, folder, "--out", tmp_path / "out", "--max-tokens", 4, "--device", "cpu"]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 1 and "2 of 4 images cannot be read" in done.output
    assert "b.png" in done.output and "d.jpg" in done.output and "0 boxes in 2 images" in done.output
    stored = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [each["file"] for each in stored["images"]] == ["a.png", "c.png"]


def test_boxes_of_an_answer():
    text = "There are <p>2 large vehicles</p>[0.1,0.1,0.2,0.2;0.9,0.9,1.0,1.0], [0.5,0.5,0.5,0.5] [cut"
    found = found_boxes(text, 100, 100, dialect("mmrs"))
    assert [box.name for box in found] == ["large vehicle"] * 2 and found[0].confidence is None
    # Of the four that are meant as boxes the third is empty and the last cut off.
    assert len(box_spans(text)) == 4
    sure = found_boxes(text, 100, 100, dialect("mmrs"), log_probabilities=(-1.0, 0.0, -2.0, -3.0))
    assert [box.confidence for box in sure] == pytest.approx([np.exp(-1), 1.0])
    assert sure[1].as_json()["confidence"] == 1 and "confidence" not in found[0].as_json()
    assert found_boxes("[0.1,0.1,0.2,0.2]", 100, 100, dialect("mmrs"), asked="ship")[0].name == "ship"
    with pytest.raises(UserError, match="--class goes with"):
        PredictOptions(task="captioning", category="ship")


def test_a_file_that_is_named_twice_is_asked_about_once(tmp_path):
    """By itself and by its folder; two files of one name are two."""
    for name in ("b/x.png", "b/a.png", "c/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (30, 20)).save(tmp_path / name)
    given = [tmp_path / "b" / "x.png", tmp_path / "b", tmp_path / "c" / ".." / "b" / "a.png"]
    assert images_of_paths(given) == [tmp_path / "b" / "x.png", tmp_path / "b" / "a.png"]
    both = images_of_paths([tmp_path / "b", tmp_path / "c"])
    assert len(both) == 3
    with pytest.raises(UserError, match=r"b/x.png and .*c/x.png are both named x"):
        run_predict(
            Told(lambda picture: ""), both, tmp_path / "out", PredictOptions(), dialect("mmrs"), Progress(quiet=True)
        )
