"""The listening page in a real browser: what sounds, what keys do, what is kept, what is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.events import Reporter
from fishtune.core.report.listening.page import write_listening_page

from .browser_kit import NAMELESS, SOUNDING, chromium, needs_browser, opened_page, wait_for_sound, wait_until
from .listening_kit import HOSTILE, TEXTS, make_run

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of four texts and five columns."""
    folder = tmp_path_factory.mktemp("listening")
    run = make_run(folder)
    write_listening_page([run], run / "listen.html", Reporter())
    return run / "listen.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, opened; whatever it says on the console or asks for is a failure."""
    with opened_page(browser, page_file, "#table table") as page:
        yield page


def button(page: Any, row: int, column: int) -> Any:
    """Return the button of a cell."""
    return page.locator(f'button.play[data-row="{row}"][data-column="{column}"]')


def sounding(page: Any) -> list[float]:
    """Return the positions of what sounds."""
    return list(page.evaluate(f"{SOUNDING}.map(each => each.currentTime)"))


def test_all_cells_play_and_have_their_exact_length(opened: Any) -> None:
    data = json.loads(opened.locator("#data").text_content())
    played = 0
    for row, texts in enumerate(data["rows"]):
        for column, cell in enumerate(texts["cells"]):
            if cell is None or cell["clip"] is None:
                continue
            button(opened, row, column).focus()
            opened.keyboard.press("Enter")
            wait_for_sound(opened, 0.02)
            (length,) = opened.evaluate(f"{SOUNDING}.map(each => each.duration)")
            assert length == pytest.approx(data["clips"][cell["clip"]]["seconds"], abs=1e-4)
            assert button(opened, row, column).get_attribute("aria-pressed") == "true"
            opened.keyboard.press("Enter")
            wait_until(opened, f"{SOUNDING}.length === 0")
            played += 1
    assert played == len(data["clips"]) == 16


def test_keys_go_to_another_column_at_the_same_position(opened: Any) -> None:
    button(opened, 3, 1).focus()
    opened.evaluate("document.activeElement.click()")
    wait_for_sound(opened, 0.6)
    (before,) = sounding(opened)
    opened.keyboard.press("ArrowRight")
    wait_until(opened, "document.activeElement.dataset.column === '2'")
    wait_for_sound(opened)
    (after,) = sounding(opened)
    assert before <= after < before + 0.7
    opened.keyboard.press("2")
    wait_until(opened, "document.activeElement.dataset.column === '1'")
    wait_for_sound(opened, after)
    opened.keyboard.press("Home")
    wait_until(opened, f"{SOUNDING}.some(each => each.currentTime < {before})")
    opened.keyboard.press("ArrowUp")
    wait_until(opened, "document.activeElement.dataset.row === '2'")
    opened.keyboard.press(" ")
    wait_until(opened, f"{SOUNDING}.length === 0")


def test_keys_in_quick_succession_leave_one_clip_sounding(opened: Any) -> None:
    button(opened, 3, 1).click()
    wait_for_sound(opened, 0.1)
    opened.evaluate(
        """for (const key of ['3', '2', '4', 'ArrowUp', '5', '3', ' ', ' ', '2'])
             document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"""
    )
    wait_for_sound(opened, 0.1)
    assert (
        opened.evaluate("document.activeElement.dataset.row + document.activeElement.dataset.column") == "21"
    )
    assert button(opened, 2, 1).get_attribute("aria-pressed") == "true"
    assert opened.locator('button.play[aria-pressed="true"]').count() == 1


def test_a_switch_is_exact(opened: Any) -> None:
    button(opened, 3, 1).click()
    wait_for_sound(opened, 0.2)
    switched = opened.evaluate(
        """async () => {
          const old = [...document.querySelectorAll('audio')].find((each) => !each.paused);
          const set = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'currentTime');
          let from, to;
          Object.defineProperty(HTMLMediaElement.prototype, 'currentTime', {
            get() { return set.get.call(this); },
            set(value) { from = set.get.call(old); to = value; set.set.call(this, value); },
          });
          const key = new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true});
          document.activeElement.dispatchEvent(key);
          await new Promise((done) => setTimeout(done, 300));
          return [from, to];
        }"""
    )
    assert switched[1] == pytest.approx(switched[0], abs=0.03)


def test_a_checkpoint_on_the_curve_leads_to_its_column(opened: Any) -> None:
    checkpoints = opened.locator(".course .checkpoint")
    assert checkpoints.count() == 2
    assert checkpoints.first.get_attribute("aria-label").endswith("recommended")
    checkpoints.last.focus()
    opened.keyboard.press("Enter")
    wait_until(opened, "document.activeElement.dataset.column === '4'")


def test_foreign_texts_are_text(opened: Any) -> None:
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("#table .asked").all_text_contents() == TEXTS
    assert opened.locator("#table img, #table b, #table i, script[src]").count() == 0
    assert "once <i>more</i>" in opened.locator(".faults").text_content()
    assert (
        HOSTILE in opened.content()
        or HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in opened.content()
    )


def test_what_would_be_loaded_or_run_from_elsewhere_is_refused(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(page_file.as_uri())
    page.evaluate("new Image().src = 'http://127.0.0.1:9/x.png'")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in refused) >= 2
    page.close()


def test_rows_are_sorted_and_filtered(opened: Any) -> None:
    opened.get_by_label("Sort by").select_option("length")
    assert opened.locator("#table .asked").all_text_contents() == sorted(TEXTS, key=len)
    opened.get_by_label("Sort by").select_option("similarity")
    opened.get_by_label("Show").select_option("faults")
    assert opened.locator("#table .asked").all_text_contents() == [TEXTS[0]]
    opened.get_by_label("Show").select_option("all")
    opened.get_by_label("Search").fill("NOBODY")
    assert opened.locator("#table .asked").all_text_contents() == [TEXTS[3]]
    opened.get_by_label("Search").fill("")
    opened.get_by_text("Columns", exact=True).click()
    opened.locator(".columns").get_by_label("base").uncheck()
    assert opened.locator("#table thead .name").count() == 4


def test_votes_are_kept_saved_and_read_back(opened: Any, tmp_path: Path) -> None:
    opened.locator("#blind").click()
    assert opened.locator("#table").count() == 0, "names would be seen"
    assert "step" not in opened.locator(".trial").text_content()
    opened.keyboard.press("a")
    wait_for_sound(opened, 0.2)
    opened.keyboard.press("b")
    wait_for_sound(opened, 0.2)
    opened.keyboard.press("2")
    opened.get_by_role("button", name="no difference").click()
    opened.locator(".blind select").first.select_option("abx")
    opened.keyboard.press("x")
    wait_for_sound(opened)
    opened.get_by_role("button", name="X is A").click()
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Save votes").click()
    download.value.save_as(tmp_path / "votes.json")
    saved = json.loads((tmp_path / "votes.json").read_text(encoding="utf-8"))
    assert [vote["kind"] for vote in saved["votes"]] == ["ab", "ab", "abx"]
    assert [vote["choice"] for vote in saved["votes"]] == ["second", "same", "first"]
    assert saved["votes"][0]["first"] != saved["votes"][0]["second"]
    assert saved["votes"][2]["x"] in ("first", "second")

    opened.reload()  # what the page keeps
    assert "Votes: 3" in opened.locator(".votes").text_content()
    opened.on("dialog", lambda dialog: dialog.accept())
    opened.get_by_role("button", name="Delete votes").click()
    assert opened.locator(".votes").count() == 0
    opened.locator("#blind").click()
    opened.locator("#load-votes").set_input_files(tmp_path / "votes.json")
    wait_until(opened, "document.querySelector('.votes').textContent.includes('Votes: 3')")
    opened.locator("#load-votes").set_input_files(tmp_path / "votes.json")  # not twice
    wait_until(opened, "document.querySelector('#status').textContent.includes('Votes added: 0')")
    opened.keyboard.press("Escape")
    assert "my-voice" not in opened.locator(".results").text_content()
    assert opened.locator(".results tbody tr").count() >= 2


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_speaks_korean_and_fits_every_screen(
    browser: Any, page_file: Path, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, locale="ko-KR"
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("#table table")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.locator("h1").text_content() == "들어 보기: my-voice"
    assert "끝부분 빠짐" in page.locator(".faults").text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"
    assert dark == (scheme == "dark")
    missing = page.evaluate(NAMELESS)
    assert missing == 0, "a control without a name"
    context.close()


def test_what_was_not_judged_is_said_once(opened: Any) -> None:
    told = " ".join(opened.locator("p.note").all_text_contents())
    assert "The background is not judged: speechmos is not installed." in told
    assert told.lower().count("not judged") == 1
