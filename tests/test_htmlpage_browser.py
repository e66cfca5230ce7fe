"""The HTML page in a real browser, from disk: it loads without errors or requests, sorts, filters, draws, slides."""

from __future__ import annotations

import itertools
import random
import re
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from benchmark.htmlpage.data import document
from benchmark.htmlpage.page import write_page
from benchmark.results.store import read_folders
from tests.page_records import HOSTILE, measurement, record, write_records
from tests.test_htmlpage import with_pictures
from tests.test_runs import sweep_record

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra [browser]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the path")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    timed = {"remark": "3 samples", "tainted": ("drifted",)}
    records = [
        with_pictures(folder, "a", 20.0, size=(200, 300), flops=10**12, latency=4.0),
        with_pictures(folder, "bb", 22.0, size=(200, 300), flops=3 * 10**12, latency=9.0),
        record("c", 21.0, flops=4 * 10**12, latency=3.0, evidence="parameter-free"),
        record(HOSTILE, 18.0, flops=0, latency=5.0, notes=[HOSTILE]),
        record("d", flops=5, more={"latency_ms": measurement(7.0, "timing", False, "ms", **timed)}),
        record("e", 30.0, data={"standin": False}),
        record("f", dataset="pairs", data={}, status="oom", error="killed").model_copy(update={"measurements": {}}),
    ]
    content = document(read_folders([write_records(folder / "results.jsonl", records)]), gallery=2)
    write_page(content, folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """What the page logged, asked for or opened, from its first byte on."""
    return []


@pytest.fixture(scope="module")
def tab(browser, file: Path, seen: list[str]) -> Iterator[object]:
    """Open the page once: reading plotly.js takes most of a second."""
    tab = browser.new_page()
    tab.set_default_timeout(10_000)
    tab.on("console", lambda message: seen.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.on("request", lambda request: seen.append(request.url))
    tab.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    tab.goto(file.as_uri())
    tab.select_option("#dataset", label="zrr-standin")
    tab.locator("#plot .main-svg").first.wait_for()
    yield tab
    tab.close()


@pytest.fixture
def page(tab, file: Path, seen: list[str]) -> Iterator[object]:
    """The page as it opens, on the stand-in's quality table; whatever it logs or asks for fails the test."""
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.emulate_media(color_scheme="light")
    tab.evaluate("document.querySelector('dialog').close()")
    tab.evaluate("document.querySelectorAll('details').forEach((element) => { element.open = false; })")
    tab.select_option("#dataset", label="zrr-standin")
    yield tab
    asked = [text for text in seen if not text.startswith(("data:", "blob:"))]
    assert asked == [file.as_uri()]


def names(page) -> list[str]:
    return page.locator("#table tbody th button").all_inner_texts()


def sorted_column(page) -> tuple[str, str]:
    head = page.locator("#table thead th:not([aria-sort=none])")
    return head.get_attribute("data-column"), head.get_attribute("aria-sort")


def points(page) -> dict[str, tuple[float, float]]:
    """Return what plotly draws as points: coordinates by name."""
    found = page.evaluate(
        """document.getElementById('plot').data.flatMap(
            (trace) => (trace.customdata || []).map((row, i) => [row.name, trace.x[i], trace.y[i]]))"""
    )
    return {name: (x, y) for name, x, y in found}


def front(page) -> set[str]:
    return set(page.locator("#table tbody tr:has(.front) th button").all_inner_texts())


def test_it_opens_sorted_by_the_main_score_and_names_stay_text(page) -> None:
    assert names(page) == ["bb", "c", "a", HOSTILE]
    assert sorted_column(page) == ("psnr[rgb]", "descending")
    assert page.locator("main img[src=x]").count() == 0
    assert "stand-in" in page.inner_text("#dataset-note").lower()


def test_stand_in_and_real_data_are_two_tables(page) -> None:
    page.select_option("#dataset", label="zrr")
    assert names(page) == ["e"]
    page.select_option("#dataset", label="zrr-standin")
    page.locator("#tables input").first.focus()
    page.keyboard.press("ArrowRight")
    assert names(page) == ["d"]
    assert page.evaluate("document.activeElement.closest('label').textContent") == "Costs only: test 1"
    assert "untrained" in page.inner_text("#dataset-note")


def test_headers_sort_by_click_and_by_key(page) -> None:
    head = page.locator("th[data-column='latency_ms'] button")
    head.click()
    assert sorted_column(page) == ("latency_ms", "ascending")
    assert names(page) == ["c", "a", HOSTILE, "bb"]
    page.keyboard.press("Enter")  # the focus is still there
    assert sorted_column(page) == ("latency_ms", "descending")
    assert names(page) == ["bb", HOSTILE, "a", "c"]
    assert page.inner_text("#live") == "Sorted by Time, descending."
    page.locator("th[data-column='model'] button").press("Space")
    assert names(page) == [HOSTILE, "a", "bb", "c"]


def test_search_evidence_and_limits_filter_table_and_plot(page) -> None:
    page.fill("#search", "parameter-free")
    assert names(page) == ["c"]
    page.fill("#search", "no such model")
    assert page.inner_text("#table tbody").startswith("No row passes the filters.")
    page.locator("#table tbody button").click()
    assert len(names(page)) == 4
    page.click("summary:has-text('Evidence')")
    page.locator("#evidence").get_by_label("parameter-free").uncheck()
    assert names(page) == ["bb", "a", HOSTILE]
    page.click("summary:has-text('Limits')")
    page.click("#add-limit")
    page.select_option("#limits select >> nth=0", label="FLOPs, 12 MP [T]")
    page.select_option("#limits select >> nth=1", label="at most")
    page.fill("#limits input", "1")
    assert names(page) == ["a", HOSTILE]
    assert page.inner_text("#count") == "2 of 4 rows"
    playwright.expect(page.locator("#plot-note")).to_contain_text("2 points.")
    page.keyboard.press("Escape")
    assert page.locator("details.menu[open]").count() == 0


def test_columns_are_chosen(page) -> None:
    page.click("summary:has-text('Columns')")
    page.locator("#columns").get_by_label("torch").check()
    page.locator("#columns").get_by_label("psnr[rgb] [dB]").uncheck()
    heads = page.locator("#table thead th").evaluate_all("(all) => all.map((th) => th.dataset.column)")
    assert "torch" in heads
    assert "psnr[rgb]" not in heads
    page.click("#reset-columns")
    assert page.locator("th[data-column='psnr[rgb]']").count() == 1


def test_any_column_can_be_an_axis_and_the_front_respects_directions(page) -> None:
    page.check("#x-log")
    assert points(page) == {"bb": (3, 22), "c": (4, 21), "a": (1, 20)}  # nothing is 0 on a logarithmic axis
    assert front(page) == {"a", "bb"}
    assert "1 row without a value that these axes can show" in page.inner_text("#plot-note")
    page.uncheck("#x-log")
    assert points(page)[HOSTILE] == (0, 18)
    assert front(page) == {"a", "bb", HOSTILE}
    page.select_option("#x", label="Time [ms] ↓")
    page.check("#y-log")
    assert points(page)["bb"] == (9, 22)
    assert page.evaluate("document.getElementById('plot').layout.yaxis.type") == "log"
    assert front(page) == {"bb", "c"}  # fast and good
    page.click("#swap")
    assert points(page)["bb"] == (22, 9)
    assert front(page) == {"bb", "c"}
    page.select_option("#x", label="Run [s]")
    assert "has no better direction" in page.inner_text("#plot-note")
    assert front(page) == set()


def test_hovering_shows_the_row_and_a_click_opens_it(page) -> None:
    page.uncheck("#x-log")
    page.locator("#plot").scroll_into_view_if_needed()
    drawn = page.locator("#plot .scatterlayer .points path")
    place = page.evaluate(
        "document.getElementById('plot').data.flatMap((t) => t.customdata || []).map((r) => r.name)"
    ).index(HOSTILE)
    drawn.nth(place).hover(force=True)
    hover = page.locator("#plot .hoverlayer .hovertext")
    hover.wait_for()
    assert HOSTILE in hover.text_content()
    assert "psnr[rgb] [dB]: 18.00" in hover.text_content()
    drawn.nth(place).click(force=True)
    assert page.inner_text("#drawer-title") == HOSTILE


def test_the_plot_has_a_table_that_says_the_same(page) -> None:
    page.click("#plot-data summary")
    page.locator("#plot-data tbody tr").first.wait_for()
    rows = [row.split("\t") for row in page.locator("#plot-data tbody tr").all_inner_texts()]
    assert [[text.strip() for text in row] for row in rows] == [
        ["bb", "3.00", "22.00", "yes"], ["c", "4.00", "21.00", "no"], ["a", "1.00", "20.00", "yes"],
        [HOSTILE, "0", "18.00", "yes"],
    ]  # fmt: skip


def test_the_drawer_tells_where_a_number_comes_from(page) -> None:
    first = page.locator("#table tbody button").first
    first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    assert page.inner_text("#drawer-title") == "FLOPs, 12 MP of c"
    body = page.inner_text("#drawer-body")
    for text in ("4,000,000,000,000 FLOP", "a count.", "flops@12mp, version 1", "machine1", "2.x", "0123456789abcdef",
                 "results.jsonl, record 3", "zoo-bench run --dataset zrr --models c", "4×1536×2048"):  # fmt: skip
        assert text in body
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "4.00"  # the focus is back


def test_the_slider_moves_between_two_pictures(page) -> None:
    cut = "getComputedStyle(document.querySelector('.frame .left')).clipPath"
    assert page.locator("#stage img").count() == 2
    slider = page.locator("#slider")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "60"
    assert "40%" in page.evaluate(cut) or "100% - 60%" in page.evaluate(cut)
    assert slider.get_attribute("aria-valuetext") == "60 % output, bb, the rest target, bb"
    page.select_option("#left-view", "error")
    page.select_option("#right-row", label="a")
    page.select_option("#image", label="image 1")
    sources = page.locator("#stage img").evaluate_all("(all) => all.map((img) => img.alt)")
    assert sources == ["target, a", "error ×4, bb"]
    assert page.locator("#stage img").evaluate_all(
        "(all) => Promise.all(all.map((img) => img.decode())).then(() => true)"
    )
    assert "psnr[rgb] 21.00" in page.inner_text(".captions .left")
    assert page.locator(".scale").inner_text().split("\n")[0] == "error 0"
    page.select_option("#zoom", "8")
    divider = "document.querySelector('.divider').getBoundingClientRect().left"
    before = page.evaluate(divider)
    page.evaluate("document.querySelector('.frame-box').scrollLeft = 300")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate(divider) == pytest.approx(before, abs=1)  # the line stays in sight
    page.select_option("#zoom", "0")
    page.locator(".frame").click(position={"x": 5, "y": 50})
    assert float(slider.input_value()) < 5


def test_pictures_are_shown_at_their_own_size(page) -> None:
    assert page.input_value("#zoom") == "1"
    assert page.evaluate(
        "(({width, height}) => [width, height])(document.querySelector('.frame').getBoundingClientRect())"
    ) == [300, 200]
    page.select_option("#zoom", "2")
    assert page.evaluate("document.querySelector('.frame').clientWidth") == 600
    # Where the window is narrower, they are fitted to it at first.
    page.set_viewport_size({"width": 260, "height": 700})
    page.select_option("#dataset", label="zrr")
    page.select_option("#dataset", label="zrr-standin")
    assert page.input_value("#zoom") == "0"


def test_the_difference_of_two_pictures_stands_between_them_and_all_move_together(page) -> None:
    page.select_option("#layout", "beside")
    page.select_option("#right-row", label="a")
    page.select_option("#zoom", "8")
    drawn = """() => {
        const canvas = document.querySelector('#stage canvas');
        const images = [...document.querySelectorAll('#stage img')];
        const read = (source) => {
            const sheet = Object.assign(document.createElement('canvas'), { width: 300, height: 200 }).getContext('2d');
            sheet.drawImage(source, 0, 0);
            return sheet.getImageData(0, 0, 300, 200).data;
        };
        const shown = [images[0], canvas, images[1]].map((one) => [...read(one).slice(0, 4000)]);
        return [canvas.width, canvas.height, ...shown];
    }"""
    playwright.expect(page.locator("#stage canvas")).to_have_attribute("width", "300")
    page.wait_for_timeout(300)
    width, height, left, shown, right = page.evaluate(drawn)
    assert (width, height) == (300, 200)
    stops = [(0, 0, 16), (192, 57, 43), (255, 243, 176)]
    for at in range(0, 4000, 4):
        value = min(255, round(4 * sum(abs(left[at + c] - right[at + c]) for c in range(3)) / 3))
        low, high, part = (0, 1, value / 127) if value < 127 else (1, 2, (value - 127) / 128)
        expected = [stops[low][c] + (stops[high][c] - stops[low][c]) * part for c in range(3)]
        assert shown[at : at + 3] == pytest.approx(expected, abs=4)
    page.evaluate("document.querySelectorAll('.frame-box')[2].scrollLeft = 120")
    page.wait_for_timeout(100)
    assert page.evaluate("[...document.querySelectorAll('.frame-box')].map((box) => box.scrollLeft)") == [120] * 3


def test_all_points_can_be_named_and_no_name_covers_another(browser, tmp_path) -> None:
    draw = random.Random(0)
    records = [
        record(f"network_{index}", 20 + draw.random(), flops=int(10 ** draw.uniform(9, 12))) for index in range(25)
    ]
    write_page(document(read_folders([write_records(tmp_path / "results.jsonl", records)])), tmp_path / "page.html")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#plot .main-svg").first.wait_for()
    boxes = """() => [...document.querySelectorAll('#plot .annotation-text-g')].map((element) => {
        const { left, right, top, bottom } = element.getBoundingClientRect();
        return [element.textContent, left, right, top, bottom];
    })"""
    few = page.evaluate(boxes)
    page.select_option("#labels", "all")
    page.wait_for_timeout(300)
    found = page.evaluate(boxes)
    assert 0 < len(few) < len(found)
    unnamed = int((re.search(r"(\d+) names? without room", page.inner_text("#plot-note")) or [0, 0])[1])
    assert len(found) + unnamed == 25
    assert unnamed <= 2
    for index, (_, left, right, top, bottom) in enumerate(found):
        for _, other_left, other_right, other_top, other_bottom in found[:index]:
            assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
    page.close()


def test_the_labels_of_an_axis_do_not_touch(browser, tmp_path) -> None:
    records = [record(f"n{index}", 20.0 + index, flops=10 ** (6 + index)) for index in range(7)]
    write_page(document(read_folders([write_records(tmp_path / "results.jsonl", records)])), tmp_path / "page.html")
    for width in (360, 1400):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto((tmp_path / "page.html").as_uri())
        page.locator("#plot .main-svg").first.wait_for()
        ticks = page.evaluate(
            "[...document.querySelectorAll('#plot g.xtick')].map((element) => element.getBoundingClientRect())"
            ".map(({left, right}) => [left, right])"
        )
        ticks.sort()
        assert len(ticks) >= 2
        assert all(right + 2 < left for (_, right), (left, _) in itertools.pairwise(ticks))
        page.close()


def test_the_address_holds_the_view(page, browser, file: Path) -> None:
    page.evaluate("location.hash = ''")
    page.click("#table thead th[data-column='latency_ms'] button")
    page.fill("#search", "trained")
    page.select_option("#labels", "all")
    page.select_option("#y", label="Time [ms] ↓")
    page.select_option("#left-view", "error")
    page.select_option("#right-row", label="a")
    page.select_option("#zoom", "2")
    page.select_option("#layout", "beside")
    page.wait_for_timeout(400)
    address = page.evaluate("location.href")
    assert address.startswith(f"{file.as_uri()}#")
    other = browser.new_page()
    other.goto(address)
    other.locator("#plot .main-svg").first.wait_for()
    for one in (page, other):
        assert one.input_value("#search") == "trained"
        assert sorted_column(one)[0] == "latency_ms"
        assert one.input_value("#labels") == "all"
        assert one.locator("#y option:checked").inner_text() == "Time [ms] ↓"
        assert [one.input_value(f"#{id}") for id in ("left-view", "zoom", "layout")] == ["error", "2", "beside"]
        assert one.locator("#right-row option:checked").inner_text() == "a"
        assert names(one) == names(page)
    # Another address in the same window, and one of another page: what is not here is passed over.
    other.evaluate(
        "location.hash = 'data=nowhere&sort=nothing:up&x=none&limits=a≥b&left=output:gone&zoom=3&columns=psnr[rgb]'"
    )
    playwright.expect(other.locator("#live")).to_have_text("A part of the address is not on this page.")
    assert other.input_value("#search") == ""
    # The links at the top scroll, and leave the address alone, which is written a moment after the view.
    other.wait_for_url(lambda address: "nowhere" not in address)
    before = other.evaluate("location.hash")
    other.click("a[href='#gallery-section']")
    assert other.evaluate("document.activeElement.id") == "gallery-section"
    assert other.evaluate("location.hash") == before
    other.close()


def test_a_phone_shows_a_number_beside_the_name(browser, file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(file.as_uri())
    page.select_option("#dataset", label="zrr-standin")
    edge = page.evaluate("document.getElementById('scroller').getBoundingClientRect().right")
    cell = page.locator("#table tbody tr").first.locator("td.num").first
    assert cell.bounding_box()["x"] + cell.bounding_box()["width"] <= edge
    assert page.locator("#table tbody .badge").first.inner_text().strip().startswith("●")
    page.close()


def test_missing_pictures_are_said(page) -> None:
    text = page.locator("#gallery details").text_content()
    assert text.startswith("2 rows without pictures")
    assert "c: no pictures: its run kept no separate pictures. Run again with zoo-bench run" in text
    page.select_option("#dataset", label="zrr")
    assert page.inner_text("#gallery").startswith("No pictures.")


def test_a_table_without_measurements_names_the_failure_and_hides_the_plot(page) -> None:
    page.select_option("#dataset", label="pairs")
    assert page.inner_text("#table tbody tr").split() == ["f", "untrained", "oom"]
    assert not page.is_visible("#plot")
    page.locator("#table tbody button").click()
    assert "killed" in page.inner_text("#drawer-body")
    page.keyboard.press("Escape")
    page.select_option("#dataset", label="zrr-standin")
    assert page.is_visible("#plot .main-svg >> nth=0")


def test_light_and_dark_follow_the_system_or_the_button(page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert light != dark
    for theme, colour in (("light", light), ("dark", dark)):
        page.click("#theme")
        assert (page.inner_text("#theme"), page.evaluate(background)) == (f"Theme: {theme}", colour)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(page, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="needs the extra [browser]")
    page.emulate_media(color_scheme=scheme)
    page.evaluate(resources.files(axe.__name__).joinpath("axe.min.js").read_text(encoding="utf-8"))
    page.click("#plot-data summary")
    for prepare in ("", "Columns"):
        if prepare:
            page.click(f"summary:has-text('{prepare}')")
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        assert [(v["id"], [node["target"] for node in v["nodes"]]) for v in found["violations"]] == []
    page.keyboard.press("Escape")
    page.locator("#table tbody td button").first.click()
    found = page.evaluate("axe.run('#drawer', { resultTypes: ['violations'] })")
    assert [(v["id"], [node["target"] for node in v["nodes"]]) for v in found["violations"]] == []


@pytest.mark.parametrize("width", [1400, 390])
def test_the_drawer_of_several_runs_names_each_of_them(browser, tmp_path, width) -> None:
    for seed in range(3):
        sweep_record(tmp_path / "results", "arena", "one", seed, 0.01 * (1 + seed))
    write_page(document(read_folders([tmp_path / "results"])), tmp_path / "page.html")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#table tbody th button").click()
    lines = page.locator("#drawer .runs tbody tr").all_inner_texts()
    assert [line.split("\t")[0] for line in lines] == ["0", "1", "2"]
    assert all(f"one{seed}…" in line and "results.jsonl, record" in line for seed, line in enumerate(lines))
    assert "zoo-bench sweep arena" in page.inner_text("#drawer-body")
    assert (
        page.evaluate(
            "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('#drawer-body'))"
        )
        == 0
    )
    page.close()


def test_a_narrow_window_scrolls_the_table_and_not_the_page(page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    playwright.expect(page.locator("#plot svg.main-svg").first).to_have_attribute("width", re.compile(r"^[12]\d\d"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_edited_row_stands_behind_the_others_and_on_no_front(browser, tmp_path) -> None:
    records = [
        record("a", 20.0, flops=2 * 10**12),
        record("b", 21.0, flops=3 * 10**12),
        record("c", 19.0, flops=10**12),
    ]
    file = write_records(tmp_path / "results.jsonl", records)
    file.write_text(file.read_text(encoding="utf-8").replace('"value": 19.0', '"value": 99.0'), encoding="utf-8")
    write_page(document(read_folders([file])), tmp_path / "page.html")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#plot .main-svg").first.wait_for()
    assert names(page) == ["b", "a", "c"]
    assert page.locator("td.best").all_inner_texts() == ["21.00", "2.00"]
    assert front(page) == {"a", "b"}
    assert "1 point only shown" in page.inner_text("#plot-note")
    assert "edited by hand" in page.inner_text("#table tbody tr:last-child")
    page.locator("th[data-column='psnr[rgb]'] button").click()
    assert names(page) == ["a", "b", "c"]
    assert "c: ✎ results.jsonl, record 3 is not as it was written" in page.locator("#legend details").text_content()
    page.close()


def test_the_front_is_that_of_the_definition_on_a_thousand_rows(browser, tmp_path) -> None:
    draw = random.Random(0)
    rows = [record(f"m{i}", draw.randrange(300) / 10, flops=draw.randrange(1, 200) * 10**10) for i in range(1000)]
    write_page(document(read_folders([write_records(tmp_path / "results.jsonl", rows)])), tmp_path / "page.html")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.click("#plot-data summary")
    page.locator("#plot-data tbody tr").first.wait_for()
    found = {
        row.split("\t")[0].strip()
        for row in page.locator("#plot-data tbody tr:has(td:text-is('yes'))").all_inner_texts()
    }
    values = {r.model: (r.measurements["flops@12mp"].value, r.measurements["psnr[rgb]"].value) for r in rows}
    beaten = {
        n for n, (x, y) in values.items() for x2, y2 in values.values() if x2 <= x and y2 >= y and (x2 < x or y2 > y)
    }
    assert found == set(values) - beaten
    assert page.locator("#table tbody tr").count() == 50
    page.get_by_text("Next").click()
    assert page.inner_text("#pager").count("Page 2 of 20") == 1
    page.close()
