import html
import re
import subprocess
import sys

import pytest

from laminar_lens.report.pictures import FLAGS, chromium_path
from laminar_lens.results import StudyResult
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium on the path (Debian: chromium)"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
READY = 120_000  # ms; a page draws fourteen figures, on a machine that may be busy


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def visited(browser, tmp_path_factory):
    """The page of a sequential study, drawn; with what it said and asked for."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    with_warmup(sequential_dataset(texts=["<script>alert(1)</script>"])).report(path)
    page, seen = open_page(browser, path, width=1280)
    return page, seen


OVERLAPS = """() => [...document.querySelectorAll(".plot")].filter(plot => {
  const boxes = what => [...plot.querySelectorAll(what)].map(e => e.getBoundingClientRect());
  const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const degrees = boxes(".yaxislayer-above .y2tick text, .y2tick text");
  const bar = boxes(".colorbar text, .colorbar .cbfills rect"), legend = boxes(".legend .traces");
  const around = boxes(".updatemenu-header-group, .xtitle, .ytitle, .xtick text, .ytick text");
  return bar.some(a => degrees.some(b => overlap(a, b))) || legend.some(a => around.some(b => overlap(a, b)));
}).map(plot => plot.dataset.figure)"""
"""Figures whose degree labels and colour bar share a place, or whose legend covers something else."""


def open_page(browser, path, *, width, theme="light"):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    seen = {"console": [], "requests": [], "dialogs": []}

    def asked(route):
        seen["requests"].append(route.request.url)
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            route.abort()

    def dialog(opened):
        seen["dialogs"].append(opened.message)
        opened.dismiss()

    page.route("**/*", asked)
    page.on("console", lambda message: seen["console"].append((message.type, message.text)))
    page.on("pageerror", lambda error: seen["console"].append(("error", str(error))))
    page.on("dialog", dialog)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=READY)
    return page, seen


def shades(page) -> list[str]:
    return page.eval_on_selector_all("#token-view .token", "all => all.map(t => t.style.backgroundColor)")


def move(page, selector: str, value: int) -> None:
    page.eval_on_selector(
        selector, "(range, v) => { range.value = v; range.dispatchEvent(new Event('input')); }", value
    )


def test_opens_without_an_error_and_asks_for_nothing_but_itself(visited):
    _, seen = visited
    assert seen["console"] == []
    assert seen["dialogs"] == []
    assert len(seen["requests"]) == 1
    assert seen["requests"][0].endswith("page.html")


def test_every_figure_is_drawn(visited):
    page, _ = visited
    assert page.locator(".plot").count() == 13
    assert page.locator(".plot .main-svg").count() >= 13
    assert page.locator(".plot .trace").count() > 40


def test_the_layer_slider_moves_and_shades_the_tokens_anew(visited):
    page, _ = visited
    move(page, "#token-layer", 0)
    assert page.text_content("#token-layer-shown") == "layer 0 of 8"
    first, values = shades(page), page.text_content("#token-view")
    move(page, "#token-layer", 5)
    assert page.text_content("#token-layer-shown") == "layer 5 of 8"
    assert shades(page) != first
    assert page.text_content("#token-view") != values


def test_the_slider_answers_the_keyboard(visited):
    page, _ = visited
    move(page, "#token-layer", 3)
    page.focus("#token-layer")
    page.keyboard.press("ArrowRight")
    assert page.text_content("#token-layer-shown") == "layer 4 of 8"


def test_another_prompt_shows_its_tokens_and_marks_the_target(visited):
    page, _ = visited
    before = page.text_content("#token-view")
    page.select_option("#token-prompt", "7")
    assert page.text_content("#token-prompt option:checked").startswith("7: The")
    assert page.text_content("#token-view") != before
    assert page.locator("#token-view .target").text_content().startswith("her")
    assert page.locator("#token-view .first").count() == 1


def test_text_of_a_prompt_stays_text(visited):
    page, _ = visited
    page.select_option("#token-prompt", "0")
    assert "<script>alert(1)</script>" in page.text_content("#token-view")
    assert page.locator("#token-view script").count() == 0


def test_the_warm_up_slider_exchanges_the_curve(visited):
    page, _ = visited
    curve = "JSON.stringify(document.querySelector('[data-figure=warmup_delta]').data.at(-3).y)"
    before = page.evaluate(curve)
    rail = page.locator("#figure-warmup_delta .slider-rail-touch-rect")
    rail.scroll_into_view_if_needed()
    box = rail.bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + box["height"] / 2)
    page.wait_for_function(
        f"before => {curve} !== before", arg=before, timeout=READY
    )  # drawn in a later frame


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("study", ["warmup", "sequential"])
def test_fits_a_phone(browser, tmp_path, study, theme):
    if study == "warmup":
        dataset = warmup_dataset()
    else:
        dataset = sequential_dataset()
        dataset["claim_unit"].values[:] = "pairs"
        for part in ("estimate", "low", "high"):
            dataset[f"claim_{part}"].values[0] = 1234567.0
    result = StudyResult(dataset) if study == "warmup" else with_warmup(dataset)
    page, seen = open_page(browser, result.report(tmp_path / "page.html"), width=390, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    overlaps = page.evaluate(OVERLAPS)
    assert overlaps == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(TALL_LEGENDS) == []
    assert page.evaluate(UNNAMED_STEPS) == []
    assert page.locator(".modebar-btn").count() == 0
    if study == "warmup":
        rail = page.locator("#figure-warmup_delta .slider-rail-touch-rect")
        rail.scroll_into_view_if_needed()
        box = rail.bounding_box()
        page.mouse.click(box["x"] + 0.63 * box["width"], box["y"] + box["height"] / 2)
        label = "document.querySelector('#figure-warmup_delta .slider-label').textContent"
        page.wait_for_function(f"{label} === 'layer 5'", timeout=READY)
    assert seen["console"] == []
    page.close()


OUTSIDE = """() => [...document.querySelectorAll(".plot")].filter(plot => {
  const box = plot.getBoundingClientRect();
  return [...plot.querySelectorAll("text")].some(text => {
    const at = text.getBoundingClientRect();
    const across = at.left < box.left - 1 || at.right > box.right + 1;
    return at.width && (across || at.top < box.top - 1 || at.bottom > box.bottom + 1);
  });
}).map(plot => plot.dataset.figure)"""
"""Figures with a text that is cut off."""


UNNAMED_STEPS = """() => [...document.querySelectorAll(".plot")].filter(plot =>
  (plot.layout.sliders || []).some(slider => slider.steps.some(step => !step.label))
).map(plot => plot.dataset.figure)"""
"""Figures whose slider has a step that it could not name."""


TALL_LEGENDS = """() => [...document.querySelectorAll(".plot:has(.legend)")].filter(plot => {
  const height = what => plot.querySelector(what).getBoundingClientRect().height;
  return height(".legend") > height(".nsewdrag");
}).map(plot => plot.dataset.figure)"""
"""Figures with a legend that is taller than what it explains."""


def test_a_wide_table_scrolls_in_its_box_and_keeps_its_answer_in_sight(browser, tmp_path):
    page, _ = open_page(browser, StudyResult(warmup_dataset()).report(tmp_path / "page.html"), width=390)
    box = page.locator(".scroll:has(#table-by_layer)")
    assert "wide" in box.get_attribute("class")
    assert "scroll" in box.evaluate("box => getComputedStyle(box, '::before').content")
    places = """box => {
      box.scrollLeft = 9999;
      const left = cell => cell.getBoundingClientRect().left - box.getBoundingClientRect().left;
      return [box.scrollLeft, ...[1, 2].map(k => left(box.querySelector(`tbody td:nth-child(${k})`)))];
    }"""
    scrolled, first, answer = box.evaluate(places)
    assert scrolled > 50
    assert first == pytest.approx(0, abs=1)
    assert 0 < answer < 100
    assert page.locator("#table-by_layer th.answer").text_content() == "enough"
    box.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('.scroll.wide').scrollLeft < 9999")
    page.close()


def colours(page):
    """What a reader sees of the page and of a figure, by place: colours as the browser computes them."""
    return page.evaluate(
        """() => {
      const plot = document.querySelector("[data-figure=target_by_layer]"), of = e => getComputedStyle(e);
      return {
        page: of(document.body).backgroundColor, ink: of(document.body).color,
        paper: of(plot.querySelector(".main-svg")).background.match(/rgb[^)]*\\)/)[0],
        label: of(plot.querySelector(".xtick text")).fill,
        lines: [...plot.querySelectorAll(".js-line")].map(line => of(line).stroke),
      };
    }"""
    )


def luminance(colour: str) -> float:
    """Relative luminance of rgb(r, g, b)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Of two colours, from 1 to 21, as WCAG has it."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_are_seen_in_both_themes_and_follow_a_change(browser, tmp_path, theme):
    path = StudyResult(sequential_dataset(n_layers=3, n_prompts=4)).report(tmp_path / "page.html")
    page, seen = open_page(browser, path, width=1280, theme=theme)
    first = colours(page)
    assert (luminance(first["page"]) < 0.05) == (theme == "dark")
    assert contrast(first["page"], first["paper"]) < 1.1, "a figure has the page's own paper"
    assert contrast(first["ink"], first["page"]) > 10
    assert contrast(first["label"], first["paper"]) > 10
    assert min(contrast(line, first["paper"]) for line in first["lines"]) > 3
    page.emulate_media(color_scheme="light" if theme == "dark" else "dark")
    label = "getComputedStyle(document.querySelector('[data-figure=target_by_layer] .xtick text')).fill"
    page.wait_for_function(f"was => {label} != was", arg=first["label"])
    other = colours(page)
    assert {name for name in first if first[name] == other[name]} == set()
    assert seen["console"] == []
    page.close()


def test_a_line_is_named_on_hover_and_click(browser, tmp_path):
    path = StudyResult(sequential_dataset(n_layers=3, n_prompts=12)).report(tmp_path / "page.html")
    page, seen = open_page(browser, path, width=1280)
    page.locator("#figure-baseline_split").scroll_into_view_if_needed()
    place = page.evaluate(
        """() => {
      const plot = document.querySelector("[data-figure=baseline_split]");
      const trace = plot.data.find(one => one.meta === "each");
      const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
      const x = box.left + xaxis._offset + xaxis.l2p(trace.x[1]);
      return {name: trace.customdata[1], x, y: box.top + yaxis._offset + yaxis.l2p(trace.y[1])};
    }"""
    )
    words = html.unescape(re.sub(r"<[^>]*>", " ", place["name"]))
    page.mouse.move(place["x"], place["y"])
    page.wait_for_selector("[data-figure=baseline_split] .hoverlayer .hovertext")
    said = page.locator("[data-figure=baseline_split] .hovertext").first.text_content()
    parts = re.findall(r"“[^”]*”|prompt \d+|\(\d+, \d+\)", words)
    assert len(parts) == 4
    assert all(part in said for part in parts)
    page.mouse.click(place["x"], place["y"])
    picked = page.locator("#figure-baseline_split .picked")
    page.wait_for_function("document.querySelector('#figure-baseline_split .picked').textContent")
    assert all(part in picked.text_content() for part in parts)
    bold = "document.querySelector('[data-figure=baseline_split]').data.at(-1).y.length"
    assert page.evaluate(bold) == 4
    page.mouse.click(place["x"], place["y"])
    page.wait_for_function(f"{bold} === 1")
    assert picked.text_content() == ""
    assert seen["console"] == []
    page.close()


def test_buttons_of_a_figure_do_not_cover_its_legend(visited):
    page, _ = visited
    plot = page.locator("[data-figure=target_by_layer]")
    plot.scroll_into_view_if_needed()
    plot.hover()
    titles = plot.locator(".modebar-btn").evaluate_all("all => all.map(button => button.dataset.title)")
    assert titles == ["Download plot as a PNG", "Zoom", "Pan", "Autoscale", "Reset axes"], "none uploads"
    bar, legend = (plot.locator(name).bounding_box() for name in (".modebar", ".legend"))
    assert bar["height"] > 10
    assert bar["y"] + bar["height"] <= legend["y"] + 1


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_every_figure_as_a_file(tmp_path, kind):
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    study = StudyResult(warmup_dataset(n_layers=3, n_texts=6))  # in one format all that there are
    study = with_warmup(sequential_dataset(n_layers=3, n_prompts=4)) if kind == "svg" else study
    saved, folder = study.save(tmp_path / "study.nc"), tmp_path / "new" / "figures"
    command = [sys.executable, "-m", "laminar_lens", "show", str(saved), "--quiet", "--figures", str(folder)]
    said = subprocess.run(
        [*command, "--format", kind], check=True, timeout=300, capture_output=True, text=True
    )
    assert said.stdout.split() == [str(folder / f"{name}.{kind}") for name in study.figures()]
    raw = (folder / f"warmup_k.{kind}").read_bytes()
    if kind == "png":
        assert raw.startswith(b"\x89PNG")
        assert int.from_bytes(raw[16:20], "big") == 1800
    elif kind == "pdf":
        assert raw.startswith(b"%PDF")
        assert raw.count(b"/Type /Page\n") == 1
    else:
        assert b"tokens to leave out (k)" in raw
        assert raw.startswith(b"<svg")
