"""The HTML page: self-contained, safe, and correct in a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from reports.html.history_page import history_html
from reports.html.page import html_report
from reports.wording import about_dimensions
from results.history.lines import read_lines

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Elements, attributes and text; fails on elements that are not closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.urls = [], Counter(), [], []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "action", "data") or name.startswith("on"):
                self.urls.append((name, value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.fixture
def text(report_data):
    return html_report(report_data)


def test_it_is_one_file_that_loads_nothing(text):
    page = Page(text)
    assert not page.open
    assert page.tags["script"] == 0
    assert all(name == "href" and (u.startswith("#") or u == "data:,") for name, u in page.urls)
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "default-src 'none'" in text


def test_text_of_a_record_does_not_become_markup(text):
    assert "<script" not in text
    assert "alert(1)" in Page(text).text  # it is shown, as text


def test_ids_are_unique_and_links_have_targets(text):
    page = Page(text)
    assert [i for i, n in Counter(page.ids).items() if n > 1] == []
    wanted = {u.removeprefix("#") for _, u in page.urls if u.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted <= set(page.ids)


def test_the_verdict_comes_first_and_every_part_is_there(text):
    page = Page(text).text
    parts = [
        "regressed", "regressed against old", "Results", "new against old",
        "Distribution of blackouts", "Blackout by phase", "Blackouts in run order",
        "Blackout by vCPU", "Other witnesses against", "The longest update", "Proof that RAM",
        "Failed runs, in no statistic", "Environment", "Repeat it",
        "pausebench compare old new --seed 7",
    ]  # fmt: skip
    places = [page.index(part) for part in parts]
    assert places == sorted(places)


def test_every_chart_has_its_numbers_in_a_table(text):
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) == 1 + 2 * 5
    for drawn in figures:
        assert drawn.count("<svg") == 1
        assert re.search(r"<details class=\"numbers\".*<tbody><tr><td>", drawn, re.DOTALL)


def test_charts_use_the_colours_of_the_page(text):
    charts = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    colours = set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{6})", charts))
    assert colours <= {"#000000"}  # matplotlib's default of glyphs without ink
    assert "DejaVu" not in charts


def test_the_numbers_are_those_of_the_records(report_data, text):
    page = Page(text).text
    for cell in report_data.cells:
        longest = max(cell.columns.known("blackout_ns").tolist())
        assert f"{longest / 1e6:.2f} ms" in page
    assert "budget 5.00 ms" in page


def test_the_same_material_gives_the_same_page(report_data, text):
    assert html_report(report_data) == text


def test_a_session_without_a_valid_run_has_a_page(report_data):
    cells = tuple(
        replace(
            cell,
            summary=replace(cell.summary, valid=0, failed=12, median_ns=None, max_ns=None),
            columns=cell.columns.where(~cell.columns.completed),
            worst=None,
            median=None,
        )
        for cell in report_data.cells
    )
    page = Page(html_report(replace(report_data, cells=cells, comparisons=())))
    assert "No valid run: nothing to draw." in page.text


def test_dimensions_as_text():
    text = "accel=kvm id=x mem_lock=True pinned=False ram_bytes=268435456 vcpus=2"
    assert about_dimensions(text) == "256 MiB of RAM, 2 vCPUs, accel kvm, mem lock"


# --- in a browser --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        # No sandbox: as root Chromium has none, and the page is ours.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1400])
def test_in_a_browser(browser, text, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    path.write_text(text, "utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    for details in page.query_selector_all("details"):
        details.evaluate("element => element.open = true")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    # Nothing lies outside the page: tables scroll inside of their own box.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (_light(ink) > _light(paper)) == (scheme == "dark")
    drawn = page.query_selector("svg.chart text")
    assert _light(drawn.evaluate("e => getComputedStyle(e).fill")) != _light(paper)
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("command", ["sweep ram", "matrix a b"])
def test_the_result_of_a_kind_fits_a_phone(browser, session_of, tmp_path, command):
    sizes = ("0.25", "0.5", "1")
    cells = [(f"anon.ram-{size}", "system", "next", 4.0) for size in sizes]
    path = tmp_path / "report.html"
    path.write_text(html_report(session_of(command, cells, ("system", "next"))), "utf-8")
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(path.as_uri())
    for details in page.query_selector_all("details"):
        details.evaluate("element => element.open = true")
    assert page.query_selector("#result table, #result svg") is not None
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.close()


@pytest.mark.browser
def test_folded_parts_are_printed(browser, text, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(text, "utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    numbers = page.query_selector("#s0 details.numbers table")
    assert not numbers.evaluate("element => element.checkVisibility()")
    page.emulate_media(media="print")
    assert numbers.evaluate("element => element.checkVisibility()")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def _light(colour):
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    return 0.3 * red + 0.6 * green + 0.1 * blue


@pytest.mark.browser
def test_the_policy_allows_the_styles_of_a_page_of_history(browser, stored, tmp_path):
    path = tmp_path / "history.html"
    path.write_text(history_html("anon", read_lines(stored, "anon")), "utf-8")
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    drawn = page.query_selector("svg.chart text")
    assert drawn.evaluate("e => getComputedStyle(e).fontFamily").startswith("system-ui")
    assert page.query_selector("details.numbers") is not None
    assert said == []
    page.close()


def test_the_policy_names_every_style_sheet_and_no_other(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    policy = html.unescape(policy)
    sheets = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in sheets}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "style-src-elem" in policy
    assert "'unsafe-inline'" not in policy.partition("style-src-attr")[0]
    for forbidden in ("base-uri 'none'", "form-action 'none'", "default-src 'none'"):
        assert forbidden in policy
