"""The page: self-contained, escaped, geometry as stored; opened in a real browser where there is one."""

import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from PIL import Image, ImageColor

from mmrs.errors import RunFailure, UserError
from mmrs.geometry import quad_from_hbb
from mmrs.record import AnnotatedObject, ImageInfo, Record
from mmrs.report.colours import PALETTE
from mmrs.report.gallery import Picture, choose, overlay_svg
from mmrs.report.page import write_report
from mmrs.report.plots import make_plots
from mmrs.report.statistics import statistics
from mmrs.report.thumbnail import thumbnail
from tests.mmrs.report.conftest import HOSTILE
from tests.support.browser import BROWSER, rendered, screenshot

pytest.importorskip("matplotlib")
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and whether they nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(report_set, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    result = write_report(report_set, path, per_source=4)
    assert (result.size, result.samples) == (path.stat().st_size, 8)
    return path


def test_nothing_is_fetched_and_nothing_runs(page):
    parsed = Page(page.read_text())
    for tag, attributes in parsed.tags:
        assert tag not in ("script", "link", "iframe", "object")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, attributes)
    assert "url(" not in page.read_text() and "@import" not in page.read_text()
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_text_of_records_is_shown_and_escaped(page):
    parsed = Page(page.read_text())
    text = " ".join(parsed.text)
    assert HOSTILE in text
    assert f"What is {HOSTILE}?" in text
    for word in ("many tanks", "the left one (object 0)", "label", "storage tanks", "captions"):
        assert word in text
    assert all(attributes.get("src") != "x" for _, attributes in parsed.tags)


def test_the_same_data_gives_the_same_page(page, report_set, tmp_path):
    write_report(report_set, tmp_path / "again.html", per_source=4)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    write_report(report_set, tmp_path / "other.html", per_source=4, seed=1)
    assert (tmp_path / "other.html").read_bytes() != page.read_bytes()


def test_every_source_is_shown_from_several_shards(report_set):
    pictures = choose(report_set, 5, 0)
    assert [picture.record.source for picture in pictures] == ["talk"] * 5 + ["toy"] * 5
    assert len({picture.record.id for picture in pictures}) == 10
    assert len({picture.record.split for picture in pictures}) == 2


def picture(objects, size=(200, 100)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "#888").save(buffer, "PNG")
    info = ImageInfo(width=size[0], height=size[1], mode="RGB", sha256="0" * 64)
    common = {"source": "a", "split": "train", "sensor": "sar", "licence": "CC0-1.0"}
    record = Record(id="a/train/1", image=info, objects=tuple(objects), **common)
    return Picture(record, thumbnail(buffer.getvalue()))


def ship(hbb):
    return AnnotatedObject(category="ship", label="Ship", quad=quad_from_hbb(hbb)[0].tolist(), hbb=hbb)


def test_shapes_are_in_stored_pixels():
    turned = AnnotatedObject(
        category="car", label="car", quad=((50, 10), (90, 50), (50, 90), (10, 50)), hbb=(10, 10, 90, 90), ignore=True
    )
    svg = overlay_svg(picture([ship((100, 20, 140, 60.5)), turned]))
    assert 'viewBox="0 0 200 100"' in svg
    assert 'points="100.00,20.00 140.00,20.00 140.00,60.50 100.00,60.50"' in svg
    assert 'points="50.00,10.00 90.00,50.00 50.00,90.00 10.00,50.00"' in svg
    assert svg.count("<rect") == 1, "the true box is drawn only where it is not the quad itself"
    assert "object 1: car (car, ignore)" in svg


def test_a_large_image_gives_a_small_thumbnail():
    wide = picture([], (3000, 1000))
    with Image.open(io.BytesIO(wide.thumbnail)) as image:
        assert (image.format, max(image.size)) == ("JPEG", 512)


def test_plots_are_images_and_the_same_each_time(report_set):
    found = statistics(report_set)
    plots = make_plots(found)
    assert sorted(plots) == ["classes", "dialogues-by-task", "image-sizes", "images-by-source", "text-lengths"]
    for name, data in plots.items():
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG" and image.width > 500, name
    assert make_plots(found) == plots


def test_a_name_is_no_formula(report_set):
    found = statistics(report_set)
    classes = found.tables["class"]
    strange = classes.with_columns(pl.lit("$\\frac{$").alias("name"))
    made = make_plots(replace(found, tables={**found.tables, "class": pl.concat([classes, strange])}))
    assert made["classes"].startswith(b"\x89PNG")


def test_errors(report_set, tmp_path):
    with pytest.raises(UserError, match="name a file"):
        write_report(report_set, tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(report_set, copy)
    for tar in copy.glob("*/*.tar"):
        tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(RunFailure, match="mmrs verify"):
        write_report(copy, tmp_path / "report.html")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_in_a_browser(page, tmp_path):
    """The boxes are on the screen in their colour, and the hostile text made no element."""
    screenshot(page, tmp_path / "page.png", 1250, 4000)
    dom = rendered(page, tmp_path)
    assert len(re.findall("<polygon", dom)) >= 16
    assert not re.search(r"<img[^>]*\bsrc=.?x\b", dom)
    with Image.open(tmp_path / "page.png") as image:
        pixels = image.convert("RGB")
        colours = {colour for _, colour in pixels.getcolors(pixels.width * pixels.height)}
    assert ImageColor.getrgb(PALETTE[0]) in colours and ImageColor.getrgb(PALETTE[1]) in colours
