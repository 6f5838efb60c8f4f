"""Samples of several images before a person's eyes: the viewer, the report, the statistics, the Hub's thumbnails."""

import io

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmrs.hub.viewer import write_viewer_tables
from mmrs.progress import Progress
from mmrs.report.page import write_report
from mmrs.report.statistics import statistics
from mmrs.report.thumbnail import side_by_side, thumbnail
from mmrs.shards.reader import ShardSet
from mmrs.viewer.app import make_viewer
from mmrs.viewer.serve import load_viewed
from tests.mmrs.viewer.test_app import ask_of, send
from tests.support.applications import serving
from tests.support.pairs import built_pairs

COUNTS = (2, 1, 3)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return built_pairs(tmp_path_factory.mktemp("pairs"), COUNTS)


def test_the_viewer_gives_every_image_and_says_how_many_there_are(out, tmp_path):
    shards = ShardSet(out)
    rows = shards.rows(range(len(shards.entries))).to_pylist()
    address = f"/image/{shards.manifest.id[:16]}"
    with serving(make_viewer(load_viewed(out, tmp_path / "exclude"))) as port:
        for number, row in enumerate(rows):
            images = shards.images(row)
            status, sample = ask_of(port, f"/api/sample?row={number}")
            assert status == 200 and sample["images"] == len(images)
            assert len(sample["record"].get("further_images", [])) == len(images) - 1
            for place, content in enumerate(images):
                assert send(port, f"{address}/{number}?image={place}")[1] == content
            small = send(port, f"{address}/{number}?small&image={len(images) - 1}")[1]
            assert Image.open(io.BytesIO(small)).size == (40, 32)
            assert send(port, f"{address}/{number}?image={len(images)}")[0].status == 404
        assert send(port, f"{address}/0?image=x")[0].status == 400


def test_the_report_shows_and_counts_all_images(out, tmp_path):
    write_report(out, tmp_path / "report.html", per_source=18)
    page = (tmp_path / "report.html").read_text()
    assert page.count('<image href="data:image/jpeg') == 2 * sum(COUNTS)
    assert "<title>after</title>" in page


def test_statistics_count_images_and_their_bytes(out):
    shards = ShardSet(out)
    found = statistics(out).tables["split"].to_dicts()
    for row in found:
        every = [shards.images(one) for one in shards.table(row["split"]).to_pylist()]
        assert row["images"] == sum(map(len, every)) == sum(COUNTS)
        assert row["bytes"] == sum(len(image) for images in every for image in images)


def test_thumbnails_of_the_hub_stand_side_by_side(out, tmp_path):
    shards = ShardSet(out)
    tables = write_viewer_tables(out, tmp_path, 6, side_by_side, Progress(quiet=True))
    images = {row["id"]: len(row["further_offset"]) + 1 for row in shards.table("train").to_pylist()}
    (table,) = [one for one in tables if one.split == "train"]
    for row in pq.read_table(table.path).to_pylist():
        picture = Image.open(io.BytesIO(row["image"]["bytes"]))
        assert picture.size == (images[row["id"]] * 48 - 8, 32)
    row = shards.table("train").to_pylist()[0]
    assert side_by_side([shards.image(row)]) == thumbnail(shards.image(row))
