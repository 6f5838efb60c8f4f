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
from mmrs.report.bars import Bar, binned, chart_html, largest_first
from mmrs.report.colours import PALETTE, class_colours
from mmrs.report.gallery import Picture, choose, overlay_svg
from mmrs.report.page import write_report
from mmrs.report.plots import make_plots
from mmrs.report.statistics import statistics
from mmrs.report.thumbnail import thumbnail
from tests.mmrs.report.conftest import HOSTILE
from tests.support.browser import BROWSER, ask_page, rendered, screenshot

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
    svg = overlay_svg(picture([ship((100, 20, 140, 60.5)), turned]), {"car": "#0072B2", "ship": "#E69F00"})
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


def test_the_page_begins_with_pictures_of_every_sensor(page):
    text = page.read_text()
    strips = re.findall(r'<section id="sensor-(\w+)">.*?</section>', text, re.DOTALL)
    assert strips == ["optical", "sar"] and text.index('id="sensor-sar"') < text.index("<table")
    parsed = Page(text)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    used = [attributes["href"] for tag, attributes in parsed.tags if tag == "use"]
    assert len(ids) == len(set(ids)) and len(used) == 8, "each drawing is on the page once, and shown again"
    assert {name.removeprefix("#") for name in used} <= set(ids)


def test_a_class_has_one_colour_throughout(page):
    text = page.read_text()
    found = {}
    for colour, name in re.findall(r'stroke="(#\w+)"[^>]*><title>object \d+: (\w+)', text):
        found.setdefault(name, set()).add(colour)
    for colour, name in re.findall(r'<i style="background:(#\w+)"></i>(car|ship) \d', text):
        found[name].add(colour)
    bars = r'<span class="name" title="(car|ship)">.*?background:(#\w+)'
    for name, colour in re.findall(bars, text):
        found[name].add(colour)
    assert sorted(found) == ["car", "ship"] and all(len(colours) == 1 for colours in found.values())
    assert found["car"] != found["ship"]


def test_colours_differ_and_are_those_of_the_palette_first():
    colours = class_colours(f"class {number:03d}" for number in range(60))
    assert tuple(colours.values())[: len(PALETTE)] == PALETTE and len(set(colours.values())) == 60


def test_bars_have_no_holes_and_lose_nothing(report_set):
    frame = pl.DataFrame({"sensor": ["sar", "sar", "optical"], "up_to": [256, 1024, None], "images": [3, 4, 5]})
    bars = binned(frame, "sensor", "images", (128, 256, 512, 1024, 2048))
    assert [(bar.name, bar.total) for bar in bars] == [
        ("up to 256", 3), ("up to 512", 0), ("up to 1,024", 4), ("up to 2,048", 0), ("more", 5)
    ]  # fmt: skip
    split = statistics(report_set).tables["split"]
    assert sum(bar.total for bar in largest_first(split, "source", "split", "images")) == split["images"].sum() == 52
    assert binned(frame.clear(), "sensor", "images", (1,)) == [] and chart_html("nothing", []) == ""


def test_a_chart_escapes_names_and_shows_the_largest():
    bars = [Bar(HOSTILE, {"": 99}), *(Bar(f"{n}", {"": n}) for n in range(40, 0, -1))]
    chart = chart_html("Images", bars, {})
    assert "<img" not in chart and "the 25 largest of 41" in chart and chart.count('class="track"') == 25


def test_columns_that_are_zero_throughout_are_left_out(page):
    heads = [text for text in re.findall(r"<th[^>]*>([^<]*)</th>", page.read_text())]
    assert "quarantined items" not in heads and "images" in heads


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_on_a_phone_nothing_is_wider_than_the_window(page, tmp_path):
    read = "[document.documentElement.scrollWidth <= innerWidth, document.querySelector('.bars').offsetWidth]"
    fits, width = ask_page(page, read, tmp_path, width=500)
    assert fits and width > 300


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
