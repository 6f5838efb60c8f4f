"""A user's way through the page in Chromium; nothing of the data runs, nothing goes to another host."""

from concurrent.futures import Future

import orjson
import pytest

from mmrs.data_set.data_set import open_data_set
from mmrs.viewer.app import make_viewer
from mmrs.viewer.serve import load_first_viewed, load_viewed
from tests.support.applications import serving
from tests.support.browser import BROWSER, open_page

pytest.importorskip("playwright")
pytestmark = [pytest.mark.nightly, pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")]


def count(page, text):
    page.wait_for_function("words => document.getElementById('count').textContent.startsWith(words)", arg=text)


def test_find_open_zoom_compare_exclude(viewer):
    """Filters narrow, the address keeps them, keys move, copies stand side by side, a line is written."""
    data = open_data_set(viewer.location)
    viewer.exclude.write_bytes(b"")
    total = len(data)
    with open_page(viewer.url) as page:
        count(page, f"{total} of {total}")
        page.locator(".cell .box").first.wait_for(state="attached")
        page.get_by_role("checkbox", name="talk").check()
        talk = sum(sample.record.source == "talk" for sample in data)
        count(page, f"{talk} of")
        assert page.url.endswith("?source=talk")
        page.fill("#text", "tanks img")
        count(page, f"{talk} of")
        page.get_by_role("checkbox", name="talk").uncheck()
        count(page, f"{talk} of")
        assert page.url.endswith("?text=tanks+img"), "the last filter takes no other field with it"
        page.fill("#text", "no such words")
        count(page, "0 of")
        page.get_by_role("button", name="clear all").click()
        count(page, f"{total} of")

        page.keyboard.press("Home")
        page.locator("#grid").focus()
        page.keyboard.press("Enter")
        page.get_by_text("leaks: is the same as </script>").wait_for()
        before = page.locator(".picture").get_attribute("viewBox")
        page.keyboard.press("+")
        assert page.locator(".picture").get_attribute("viewBox") != before
        page.keyboard.press("0")
        assert page.locator(".picture").get_attribute("viewBox") == before
        page.keyboard.press("g")
        assert page.locator(".pane").count() == 3
        page.keyboard.press("x")
        page.get_by_role("button", name="take off the list").wait_for()
        assert orjson.loads(viewer.exclude.read_bytes())["id"] == data[0].id
        page.keyboard.press("ArrowRight")
        page.locator(".bar .name", has_text=data[1].id).wait_for()
        linked = page.url
        page.keyboard.press("Escape")
        assert page.locator(".cell.excluded").count() == 1
        page.goto(linked)
        page.locator(".bar .name", has_text=data[1].id).wait_for()
        page.keyboard.press("Escape")
        page.locator(".cell").nth(2).click()
        page.locator(".bar .name", has_text=data[2].id).wait_for()
        page.go_back()
        page.locator("#sample").wait_for(state="hidden")
        assert page.faults == []
    viewer.exclude.write_bytes(b"")


def test_the_first_images_are_shown_while_the_indexes_are_read(viewed_set, tmp_path):
    """They stay where they are, and can be opened once the rest is there."""
    whole, loading, first = load_viewed(viewed_set, tmp_path / "x"), Future(), Future()
    first.set_result(load_first_viewed(viewed_set, tmp_path / "x"))
    with serving(make_viewer(loading, first=first)) as port, open_page(f"http://127.0.0.1:{port}/") as page:
        page.locator(".cell image").first.wait_for()
        total = len(whole.catalogue)
        count(page, f"the first of {total}; reading the indexes")
        early = page.locator(".cell").count()
        page.locator(".cell").first.click()
        assert not page.locator("#sample").is_visible()
        loading.set_result(whole)
        count(page, f"{total} of {total}")
        assert 0 < early < page.locator(".cell").count()
        page.locator(".cell").first.click()
        page.locator(".bar .name").wait_for()
        assert page.faults == []


def test_on_a_phone(viewer):
    """Nothing is wider than the window, the filters open over the grid, and hostile texts are texts."""
    with open_page(f"{viewer.url}?source=talk", width=390, height=780, scheme="dark") as page:
        page.locator(".cell").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not page.locator("#filters").is_visible()
        page.click("#filters-toggle")
        assert page.locator("#filters").is_visible()
        page.click("#filters-toggle")
        page.locator(".cell").first.click()
        page.get_by_text('</script><img src=x onerror="alert(1)">').first.wait_for()
        page.get_by_text("a\\u202egnp").first.wait_for()
        assert page.evaluate("[...document.images].length + document.scripts.length") == 1
        assert page.evaluate("document.querySelector('.sample').scrollWidth <= innerWidth")
        assert page.faults == []


def test_the_grid_scrolls_through_more_than_a_browser_can_hold(viewer):
    """A million rows: the last one is reached and shown, and the elements stay few."""
    with open_page(viewer.url) as page:
        page.locator(".cell").first.wait_for()
        shown = page.evaluate(
            """async () => {
                const { Grid } = await import("/static/grid.js");
                const host = document.getElementById("grid");
                const card = () => Object.assign(document.createElement("div"), { className: "cell" });
                const makeCard = (row) => Object.assign(card(), { textContent: row.n });
                const rows = (offset, limit) => Array.from({ length: limit }, (_, n) => ({ n: offset + n }));
                const fetchRows = async (offset, limit) => ({ total: 1e6, rows: rows(offset, limit) });
                const grid = new Grid(host, { fetchRows, makeCard, onAnswer() {}, onError(error) { throw error } });
                const pause = () => new Promise((done) => setTimeout(done, 60));
                const texts = () => [...host.querySelectorAll(".cell")].map((cell) => Number(cell.textContent));
                await pause();
                grid.goTo(999999);
                await pause();
                const end = Math.max(...texts());
                grid.goTo(0);
                let seen = 0;
                for (let step = 0; step < 60; step++) {
                    host.scrollTop += 250000;
                    await pause();
                    seen = Math.max(seen, ...texts());
                }
                return [end, seen, host.querySelectorAll(".cell").length, grid.inner.offsetHeight];
            }"""
        )
        end, seen, cards, height = shown
        assert end == 999_999 and seen > 50_000 and cards < 200 and height < 2_000_000
