"""The page of analysis report in a real browser: nothing is loaded, and everything can be used."""

from dataclasses import replace

import numpy as np
import pytest
from chromium import browser, find_chromium
from measured_gains import write_forecast, write_gains
from report_pages import HOSTILE, make_hostile
from results_folder import encode_preview, write_folder

from analysis.__main__ import PROGRAM
from benchmarks.synthetic_results import sweep_of, write_results

PROGRAM_PATH = find_chromium()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM_PATH is None, reason="no Chromium (apt-get install chromium)"),
]

SIZES = (1280, 390)
SELECTED = (
    "document.querySelector('[role=treeitem][aria-selected=true]')?.getAttribute('aria-label')"
)
FOCUSED = "document.activeElement.getAttribute('aria-label')"


def write_report(folder, *args):
    path = folder.parent / "report.html"
    assert PROGRAM.run(["report", str(folder), "--out", str(path), *args]) == 0
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_report(write_folder(tmp_path_factory.mktemp("small") / "a"))


@pytest.fixture
def page(tmp_path):
    assert PROGRAM_PATH is not None
    with browser(PROGRAM_PATH, tmp_path / "profile") as opened:
        yield opened


def traces(page) -> list[str]:
    return page.evaluate("document.getElementById('curves-chart').data.map((t) => t.name)")


def text(page, name: str) -> str:
    return page.evaluate(f"document.getElementById('{name}').textContent")


@pytest.mark.parametrize("width", SIZES)
def test_it_loads_nothing_and_complains_about_nothing(page, small, width):
    page.open(small, width=width)
    assert traces(page)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.complaints() == []
    assert page.requests() == [small.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", SIZES)
def test_hostile_names_are_shown_and_do_nothing(page, tmp_path, width):
    path = write_report(make_hostile(write_folder(tmp_path / "a", classes=(HOSTILE, "b"))))
    page.open(path, width=width)
    for name in ("seeds", "log"):
        page.click(f"#{name}")
    page.press("ArrowDown")
    page.click("[role=treeitem] .row")
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelectorAll('script').length") == 4
    assert page.evaluate("document.querySelectorAll('main img').length") == 0
    assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0
    assert HOSTILE in text(page, "curves-chart")


def wait(page) -> None:
    """Let pictures be decoded and drawn."""
    page.evaluate("new Promise((done) => setTimeout(done, 300))")


def samples(page) -> list[int]:
    """The shades of the first two samples (results_folder.flat_tiles)."""
    wait(page)
    at = (
        "((x) => document.getElementById('samples').getContext('2d').getImageData(x, 0, 1, 1).data)"
    )
    first, gap, second = (f"{at}({x})" for x in (31, 32, 35))  # 8 pixels four times as large
    assert page.evaluate(f"{gap}[3]") == 0
    return page.evaluate(f"[{first}[0], {second}[0]]")


UNFINISHED = {
    "diverged": {"diverged": ((1.0, 0, 2), (1.0, 1, 1))},
    "one seed": {"seeds": (0,)},
    "one generation": {"generations": 1},
    "half written": {"pending": ((1.0, 0, 2), (0.5, 1, 1))},
    "nothing yet": {"pending": tuple((a, s, 1) for a in (0.5, 1.0) for s in (0, 1, 2))},
}


@pytest.mark.parametrize("settings", UNFINISHED.values(), ids=UNFINISHED)
def test_whatever_is_there_is_shown(page, tmp_path, settings):
    page.open(write_report(write_folder(tmp_path / "a", **settings)), width=1280)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for number in range(page.evaluate("document.querySelectorAll('[role=treeitem]').length")):
        page.evaluate(f"document.querySelectorAll('[role=treeitem] > .row')[{number}].click()")
    assert page.complaints() == []
    assert ": " in text(page, "viewer-status")


@pytest.mark.parametrize("width", SIZES)
def test_the_filter_works_by_mouse_and_by_keyboard(page, small, width):
    page.open(small, width=width)
    assert "2 of 2 settings" in text(page, "curves-status")
    page.click("#axes input[data-value='1']")
    assert "1 of 2 settings" in text(page, "curves-status")
    assert "alpha = 1" not in traces(page)
    page.press(" ")  # the box has the focus
    assert "2 of 2 settings" in text(page, "curves-status")
    page.evaluate("document.getElementById('metric').focus()")
    page.press("ArrowDown")
    assert page.evaluate("document.getElementById('metric').value") == "1"
    title = page.evaluate("document.getElementById('curves-chart').layout.yaxis.title.text")
    assert title == "standard deviation of pixels over images"
    page.evaluate("document.getElementById('seeds').focus()")
    page.press("ArrowDown")
    assert len(traces(page)) == 2 * 3


@pytest.mark.parametrize("width", SIZES)
def test_the_slider_works_by_mouse_and_by_keyboard(page, small, width):
    page.open(small, width=width)
    assert samples(page) == [1, 3 + 1]
    page.click("#generation")  # its middle: the second of three generations
    assert text(page, "generation-name") == "V2"
    assert samples(page) == [2, 3 + 2]
    page.press("ArrowRight")
    assert text(page, "generation-name") == "V3"
    assert samples(page) == [3, 3 + 3]
    page.evaluate("document.getElementById('noise').focus()")
    page.press("ArrowRight")
    assert text(page, "noise-name") == "2"
    pixel = (
        "[...document.querySelectorAll('#strip canvas')]"
        ".map((c) => c.getContext('2d').getImageData(0, 0, 1, 1).data[0])"
    )
    wait(page)
    assert page.evaluate(pixel) == [3 + 1, 3 + 2, 3 + 3]  # results_folder.flat_tiles


@pytest.mark.parametrize("width", SIZES)
def test_a_click_on_a_sample_chooses_its_noise(page, small, width):
    page.open(small, width=width)
    wait(page)
    page.click("#samples")  # its middle: after the fourth of 8 columns and rows
    assert text(page, "noise-name") == str(1 + 3 + 8 * 3)
    edges = "((r) => [r.x, r.y, r.width])(document.querySelector('#{}').getBoundingClientRect())"
    sheet, mark = (np.array(page.evaluate(edges.format(name))) for name in ("samples", "mark"))
    pixel = sheet[2] / (8 * 32 + 7 * 3)  # 8 pixels four times as large, and gaps of 3
    assert mark[:2] - sheet[:2] == pytest.approx(3 * 35 * pixel, abs=0.5)
    assert mark[2] == pytest.approx(32 * pixel, abs=0.5)


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("dark", [False, True])
def test_class_shares_are_shown_for_each_lineage(page, tmp_path, width, dark):
    folder = write_folder(tmp_path / "a", classes=(HOSTILE, "b", "c"))
    path = write_report(folder)
    page.open(path, width=width, dark=dark)
    chart = "document.getElementById('classes-chart')"
    shares = np.array(page.evaluate(f"{chart}.data[0].z"))
    assert shares == pytest.approx(np.outer([1, 2, 3], [1, 1, 1]) / 6, abs=5e-5)  # four digits
    first = text(page, "classes-table")
    page.evaluate("document.getElementById('class-line').focus()")
    page.press("ArrowDown")
    page.evaluate("document.querySelector('#classes details').open = true")
    wait(page)
    cells = "[...document.querySelectorAll('#classes-table tbody tr')].map((r) => r.textContent)"
    assert page.evaluate(cells)[1:] == ["b33.33%33.33%33.33%", "c50%50%50%"]
    assert text(page, "classes-table") != first
    assert HOSTILE in text(page, "classes-table")
    assert page.complaints() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A report with gains, a forecast of both generations, and a ledger."""
    folder = write_gains(tmp_path_factory.mktemp("explained") / "a", generations=2)
    lineages = [path.stem for path in (folder / "lineages").glob("*.json")]
    forecast = write_forecast(folder.parent / "plan.json", lineages, generations=2)
    steps = ("--step", f"{HOSTILE}:alpha=0.5", "--step", "high:alpha=1")
    return write_report(folder, "--forecast", str(forecast), *steps)


def chart(page, name: str, what: str):
    return page.evaluate(f"document.getElementById('{name}').data.map((t) => {what})")


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("dark", [False, True])
def test_gains_are_drawn_for_each_setting(page, explained, width, dark):
    """Two generations, each with its forecast, and the training images; a band of the last."""
    page.open(explained, width=width, dark=dark)
    assert text(page, "gains-status") == "alpha = 0.5."
    page.evaluate("document.getElementById('gain-setting').focus()")
    page.press("ArrowDown")
    assert text(page, "gains-status") == "alpha = 1."
    dashes = chart(page, "gains-chart", "t.line.dash ?? (t.line.width === 0 ? 'band' : 'solid')")
    assert sorted(dashes) == ["band", "band", "dash", "dash", "dash", "dot", "solid", "solid"]
    solid = chart(page, "gains-chart", "t.mode === 'lines+markers' ? t.y : null")
    means = np.array([y for y in solid if y is not None])
    assert means[:, 9] == pytest.approx([1, 1])  # (10 / 10)^(n / 4)
    bands = "document.getElementById('gains-chart').layout.annotations.map((a) => a.text)"
    assert page.evaluate(bands) == ["head", "middle", "tail"]
    page.evaluate("document.querySelector('#gains details').open = true")
    wait(page)
    rows = "[...document.querySelectorAll('#gains-table tbody tr')].map((r) => r.textContent)"
    table = page.evaluate(rows)
    assert len(table) == 40
    assert table[9].startswith("10middle1.011 \u00b1 ")
    assert page.complaints() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", SIZES)
def test_paths_follow_the_choice_of_metrics_and_settings(page, explained, width):
    page.open(explained, width=width)
    assert chart(page, "paths-chart", "t.name") == ["alpha = 0.5", "alpha = 1"]
    assert chart(page, "paths-chart", "t.y")[0] == pytest.approx([1.1, 2.1])  # kid: n + 0.1 seed
    assert chart(page, "paths-chart", "t.x")[0] == pytest.approx([0.2, 0.1])  # deviation: 0.2 / n
    page.click("#path-axes input[data-value='1']")
    assert chart(page, "paths-chart", "t.name") == ["alpha = 0.5"]
    assert "2 of 2 settings" in text(page, "curves-status")  # which have boxes of their own
    page.evaluate("document.getElementById('path-x').focus()")
    page.press("Home")
    assert chart(page, "paths-chart", "t.x")[0] == pytest.approx([1.1, 2.1])
    assert page.complaints() == []


def test_paths_of_many_settings_are_drawn_when_they_are_near(page, tmp_path):
    """Each of 201 settings is a line, so the page would open later with them."""
    alphas = tuple(float(alpha) for alpha in range(1, 202))
    folder = write_folder(tmp_path / "a", alphas=alphas, seeds=(0,), generations=2)
    page.open(write_report(folder), width=1280)
    assert page.evaluate("document.getElementById('paths-chart').data") is None
    page.evaluate("document.getElementById('paths').scrollIntoView()")
    wait(page)
    assert len(chart(page, "paths-chart", "t.name")) == 201


@pytest.mark.parametrize("width", SIZES)
def test_bars_of_the_ledger_have_the_terms_of_each_band(page, explained, width):
    """Gains of bands are the same for all settings here, so the last step adds nothing."""
    page.open(explained, width=width)
    for position in range(3):
        names = chart(page, f"ledger-{position}", "t.name")
        assert names == [
            "sampler",
            HOSTILE.replace("<", "&lt;").replace(">", "&gt;"),
            "high",
            "total",
        ]
        terms = np.array(chart(page, f"ledger-{position}", "t.y"))
        assert terms[0] == pytest.approx([0.9 - 1, 0.81 - 1])
        assert terms[2] == pytest.approx([0, 0])
        assert terms[3] == pytest.approx([1.1 * (position + 1) - 1, 1.2 * (position + 1) - 1])
    assert page.complaints() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_gains_there_are_no_sections_of_them(page, small):
    page.open(small, width=1280)
    for name in ("gains", "ledger"):
        assert page.evaluate(f"document.getElementById('{name}').offsetHeight") == 0
        assert page.evaluate(f"document.querySelector(\"nav a[href='#{name}']\").offsetHeight") == 0


def test_without_class_shares_there_is_no_section_of_them(page, small):
    page.open(small, width=1280)
    assert page.evaluate("document.getElementById('classes').hidden")


@pytest.mark.parametrize("width", SIZES)
def test_the_tree_works_by_mouse_and_by_keyboard(page, small, width):
    page.open(small, width=width)
    page.click("[role=treeitem][data-node='1'] > .row")
    assert page.evaluate(SELECTED).startswith("V2, alpha = 0.5")
    assert text(page, "viewer-status").startswith("V2 of alpha = 0.5, seed 0: done")
    page.press("ArrowRight")  # it is open: to its first child
    assert page.evaluate(FOCUSED).startswith("V3")
    page.press("Enter")
    assert text(page, "viewer-status").startswith("V3 of alpha = 0.5, seed 0: done")
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    expanded = "document.activeElement.getAttribute('aria-expanded')"
    assert page.evaluate(expanded) == "false"
    page.press("ArrowDown")
    assert page.evaluate(FOCUSED).startswith("V2, alpha = 1")
    page.press("Home")
    assert page.evaluate(FOCUSED).startswith("V1, seed = 0")


def names_by_role(page) -> dict[str, list[str]]:
    """What a screen reader finds once everything is open."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    by_role: dict[str, list[str]] = {}
    for node in page.send("Accessibility.getFullAXTree")["nodes"]:
        if not node["ignored"]:
            role = node.get("role", {}).get("value", "")
            by_role.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ("combobox", "slider", "checkbox", "treeitem", "tree", "image", "region"):
        assert by_role.get(role), f"no {role}"
        assert all(by_role[role]), f"a {role} without a name: {by_role[role]}"
    return by_role


def test_a_screen_reader_finds_names_and_the_numbers_of_charts(page, small):
    page.open(small, width=1280)
    by_role = names_by_role(page)
    assert any("alpha = 1: 1.1 at V1, 3.1 at V3" in name for name in by_role["image"])
    cells = page.evaluate(
        "[...document.querySelectorAll('#curves-table td')].map((c) => c.textContent)"
    )
    assert cells[:3] == ["V1", "1.1", "0.2484"]


def test_a_screen_reader_finds_numbers_of_gains_paths_and_ledger(page, explained):
    page.open(explained, width=1280)
    images = names_by_role(page)["image"]
    for words in (
        "V2: 0.3162 in direction 1, 2 in",
        "high 0 at V1, 0 at V2",
        "0.2, 1.1 at V1; 0.1",
    ):
        assert any(words in name for name in images), words


def test_500_lineages_of_8_generations_open_in_3_seconds_and_30_megabytes(page, tmp_path):
    """The seconds are those of the page's own thread, as the test may not be alone."""
    folder = tmp_path / "results"
    sweep = sweep_of(500, 8)
    metrics = replace(sweep.base.metrics, names=(*sweep.base.metrics.names, "gain"))
    write_results(folder, replace(sweep, base=replace(sweep.base, metrics=metrics)))
    rng = np.random.default_rng(0)
    shape = np.hypot(*np.mgrid[-3.5:4, -3.5:4])[:, :, None]  # rings with noise, as dense as digits
    for path in folder.glob("generations/*/preview.png"):
        ring = 255 * (abs(shape - 2.5) < 1)
        tiles = ring + rng.normal(0, 25, (64, 8, 8, 1)) * (ring > 0)
        path.unlink()  # it is a link to a file that all share
        path.write_bytes(encode_preview(tiles.clip(0, 255).astype(np.uint8)))
    path = write_report(folder)
    assert path.stat().st_size <= 30e6
    seconds = page.open(path, width=1280)
    assert min(seconds, page.thread_seconds()) < 3
    assert page.evaluate("Object.keys(DATA.previews.nodes).length") == 4000
    assert text(page, "left-out") == ""
    assert "The first 25 of 50 settings are shown" in text(page, "gains-status")
    page.click("[role=treeitem]:nth-child(400) > .row")
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press("Enter")
    assert text(page, "generation-name") == "V2"
    wait(page)
    assert page.evaluate("document.getElementById('samples').width") > 256
    assert page.complaints() == []
