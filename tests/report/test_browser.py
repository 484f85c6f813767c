"""The page in Chromium: run by ``make test-browser``."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import PROGRAM, Tab, browser
from report_inputs import HOSTILE, rename_clips, write_map_of, write_run, write_tables

from evaluate import report
from nonverbal.data.index import ShardFolder

pytestmark = pytest.mark.browser

LIGHT, DARK = "rgb(247, 245, 240)", "rgb(20, 23, 26)"
"""The page's ground in each theme."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    names = ["logmel", HOSTILE, "a/very/long/name/of/an/encoder/that/does/not/fit/on/a/telephone"]
    write_tables(folder / "scores", names, [HOSTILE, "b&b"], pretraining="transductive")
    write_run(folder / "run", folder / "shards")
    report.main([str(folder), "--out", str(folder / "report.html")])
    return folder / "report.html"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    assert PROGRAM is not None, "Chromium is missing: apt-get install chromium"
    with browser(tmp_path / "profile") as opened:
        yield opened


def ground(tab: Tab) -> str:
    return tab.run("getComputedStyle(document.body).backgroundColor")


def test_nothing_is_complained_of_and_nothing_asked_for(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.run("document.querySelectorAll('summary').forEach((summary) => summary.click())")
    tab.run("document.getElementById('theme').click()")
    assert tab.run("document.querySelectorAll('details:not([open])').length") == 0
    assert tab.complaints == []
    assert tab.requests == [page.resolve().as_uri()]
    # That a complaint would be heard, and a request seen.
    tab.run("console.error('x'); fetch('https://example.org/').catch(() => 0)")
    assert len(tab.complaints) >= 2


def test_the_theme_is_the_systems_until_the_switch_says_otherwise(tab: Tab, page: Path) -> None:
    tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.open(page)
    assert ground(tab) == DARK
    press = "document.getElementById('theme').click()"
    tab.run(press)
    assert ground(tab) == LIGHT
    tab.run(press)
    assert ground(tab) == DARK
    tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    assert ground(tab) == DARK
    tab.run(press)
    assert ground(tab) == LIGHT
    assert tab.run("document.getElementById('theme').textContent") == "Colours: system"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(tab: Tab, page: Path, width: int) -> None:
    tab.open(page, width)
    tab.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") <= width
    # Texts in drawings are at least 8 pixels high.
    scale = "(svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
    scales = tab.run(f"[...document.querySelectorAll('svg')].map({scale})")
    assert min(scales) * 11 >= 8


def test_all_is_reached_by_keyboard(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.press("Tab", 9)
    assert tab.run("document.activeElement.className") == "skip"
    tab.press("Tab", 9)
    assert tab.run("document.activeElement.id") == "theme"
    tab.press("Enter", 13)
    assert tab.run("document.documentElement.dataset.theme") == "light"
    tab.run("document.querySelector('summary').focus()")
    tab.press("Enter", 13)
    assert tab.run("document.querySelector('details').open") is True
    # What is scrolled can be focused, and says what it is.
    scrolled = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1)"
    assert tab.run(f"{scrolled}.every((one) => one.tabIndex === 0 && one.ariaLabel)") is True


def test_images_have_texts_and_names_stay_texts(tab: Tab, page: Path) -> None:
    tab.open(page)
    assert tab.run("[...document.querySelectorAll('svg')].every((svg) => svg.getAttribute('aria-label'))") is True
    assert tab.run("document.querySelectorAll('script').length") == 1
    assert HOSTILE in tab.run("document.querySelector('tbody').textContent")


def test_what_is_folded_is_printed(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("document.querySelectorAll('details:not([open])').length") == 0
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.run("document.querySelectorAll('details[open]').length") == 0


def test_a_point_of_a_map_plays(tab: Tab, tmp_path: Path, make_shards: Callable[..., ShardFolder]) -> None:
    shards = make_shards([("mine", 0.3, "train")] * 24)
    page = tmp_path / "report.html"
    write_map_of(tmp_path / "x.map.json", 24)
    report.main([str(tmp_path / "x.map.json"), "--out", str(page), "--data", str(shards.folder), "--sounds", "5"])
    hear(tab)
    tab.open(page)
    points = "[...document.querySelectorAll('svg')][0].querySelectorAll('[role=button]')"
    assert tab.run(f"{points}.length") == 5
    place = tab.run(f"(({{x, y, width}}) => [x + width / 2, y + width / 2])({points}[2].getBoundingClientRect())")
    at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
    tab.run("scrollTo(0, 0)")
    for kind in ("mousePressed", "mouseReleased"):
        tab.send("Input.dispatchMouseEvent", type=kind, **at)
    assert tab.run(f"{points}[2].getAttribute('aria-pressed')") == "true"
    assert tab.run(ENDED) == pytest.approx(0.3, abs=0.05)
    # By keyboard: one point is reached, the next by an arrow.
    tab.run(f"{points}[0].focus()")
    tab.press("ArrowRight", 39)
    tab.press("Enter", 13)
    assert tab.run(f"document.activeElement === {points}[1]") is True
    assert tab.run(f"{points}[1].getAttribute('aria-pressed')") == "true"
    assert tab.complaints == []


def test_the_colours_of_a_map_are_chosen_by_keyboard_and_printed(tab: Tab, tmp_path: Path) -> None:
    write_tables(tmp_path / "scores", ["x", HOSTILE], [HOSTILE, "b"])
    rename_clips(tmp_path / "scores", "mine")
    write_map_of(tmp_path / "x.map.json", 24)
    report.main([str(tmp_path), "--out", str(tmp_path / "report.html"), "--figures", str(tmp_path / "figures")])
    assert len(list((tmp_path / "figures").glob("map-0-*.svg"))) == 3
    tab.open(tmp_path / "report.html", 360)
    colours = "[...document.querySelectorAll('.switched circle[data-clip]')].map((one) => getComputedStyle(one).fill)"
    words = "[...document.querySelectorAll('.switched svg text')].filter((one) => one.getClientRects().length)"
    words += ".map((one) => one.lastChild.textContent)"
    # Two classes, then seven of twelve speakers and the rest, then whether the models disagree.
    seen = []
    tab.run("document.querySelector('.switched input').focus()")
    for kinds in (2, 8, 2):
        assert len(set(tab.run(colours))) == kinds
        seen.append((tab.run(colours), tab.run(words)))
        chosen = tab.run("document.activeElement.parentElement.textContent.trim()")
        assert tab.run(words)[0] == chosen
        tab.press("ArrowRight", 39)
    assert [words[0].split()[1] for _, words in seen] == ["class", "speaker", "whether"]
    assert seen[0][0] != seen[2][0]
    # From the last to the first; and what is chosen is what is printed, without the switch.
    assert (tab.run(colours), tab.run(words)) == seen[0]
    tab.press("ArrowRight", 39)
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.run(words) == seen[1][1]
    assert tab.run("document.querySelector('.switched fieldset').getClientRects().length") == 0
    assert tab.complaints == []


def test_a_point_that_plays_goes_on_when_the_colours_change(
    tab: Tab, tmp_path: Path, make_shards: Callable[..., ShardFolder]
) -> None:
    shards = make_shards([("mine", 5.0, "train")] * 24)
    page = tmp_path / "report.html"
    write_map_of(tmp_path / "x.map.json", 24)
    report.main([str(tmp_path / "x.map.json"), "--out", str(page), "--data", str(shards.folder), "--sounds", "2"])
    tab.open(page)
    pressed = "document.querySelectorAll('.switched [aria-pressed=true]').length"
    tab.run("document.querySelector('.switched [role=button]').focus()")
    tab.press("Enter", 13)
    assert tab.run(pressed) == 1
    tab.run("document.querySelectorAll('.switched input')[1].click()")
    assert tab.run(pressed) == 1
    assert tab.complaints == []


def hear(tab: Tab) -> None:
    """Let every Audio that a page makes tell when it has ended: the page keeps its player to itself."""
    told = "this.addEventListener('ended', () => heard.push(this.duration))"
    script = f"window.heard = []; window.Audio = class extends Audio {{ constructor() {{ super(); {told}; }} }};"
    tab.send("Page.addScriptToEvaluateOnNewDocument", source=script)


ENDED = "new Promise((done) => { const look = () => heard.length ? done(heard[0]) : setTimeout(look, 50); look(); })"
"""Comes to the seconds of the first sound that has ended."""


def test_a_clip_that_is_pressed_plays_to_its_end(
    tab: Tab, tmp_path: Path, make_shards: Callable[..., ShardFolder]
) -> None:
    write_tables(tmp_path / "scores")
    rename_clips(tmp_path / "scores", "mine")
    shards = make_shards([("mine", 0.3, "train")] * 24)
    page = tmp_path / "report.html"
    report.main([str(tmp_path / "scores"), "--out", str(page), "--data", str(shards.folder)])
    hear(tab)
    tab.open(page)
    tab.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    button = "document.querySelector('[data-clip]')"
    tab.run(f"{button}.focus()")
    tab.press("Enter", 13)
    assert tab.run(f"{button}.getAttribute('aria-pressed')") == "true"
    assert tab.run(ENDED) == pytest.approx(0.3, abs=0.05)
    assert tab.run(f"{button}.getAttribute('aria-pressed')") == "false"
    assert tab.complaints == []
