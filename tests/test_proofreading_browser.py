"""The proofreading page in a real browser: edits by keys, what is kept and saved, and what it becomes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as run_command
from fishtune.core.dataset.edits import read_edits
from fishtune.core.dataset.places import Sounding, Spoken, gaps_of, sounding_of
from fishtune.core.dataset.prepared import PreparedWord
from fishtune.core.dataset.proofreading import Piece, ProofClip, proofread
from fishtune.core.errors import DataError
from fishtune.core.events import Reporter
from fishtune.core.report.proofreading import page as page_module
from fishtune.core.report.proofreading.page import write_proofreading_page
from fishtune.core.stages.prepare.realise import clips_now

from .browser_kit import NAMELESS, SOUNDING, chromium, needs_browser, opened_page, wait_for_sound, wait_until
from .listening_kit import SAMPLE_RATE, sound
from .proofreading_kit import CLIPS, HOSTILE, make_data

pytestmark = needs_browser

LEAST_SURE_FIRST = ["TOM/one", "MIA/talk-0001", "TOM/two", "MIA/talk-0002", "MIA/talk-0003"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with its page; tests that change the data set take a copy."""
    made = make_data(tmp_path_factory.mktemp("proofreading") / "voices")
    write_proofreading_page(made, made / "proofread.html", None, Reporter())
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser: Any, data: Path) -> Iterator[Any]:
    """The page, opened; whatever it says on the console or asks for is a failure."""
    with opened_page(browser, data / "proofread.html", "#rows li") as page:
        yield page


def names(page: Any) -> list[str]:
    """Return the clips of the list."""
    return list(page.locator("#rows .name").all_text_contents())


def row(page: Any, clip: str) -> Any:
    """Return a clip's row."""
    return page.locator(f'#rows li[data-clip="{clip}"]')


def text(page: Any, clip: str) -> str:
    """Return a clip's transcript as the page has it."""
    return str(row(page, clip).locator(".text").text_content()).strip()


def go_to(page: Any, clip: str) -> None:
    """Make a clip the current one."""
    row(page, clip).locator(".play").focus()


def save(page: Any, target: Path) -> list[dict[str, Any]]:
    """Save the edits to a file and return them."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save edits").click()
    download.value.save_as(target)
    return list(json.loads(target.read_text(encoding="utf-8"))["edits"])


def focused(page: Any) -> str:
    """Return the clip whose row has the focus."""
    return str(page.evaluate("document.activeElement.closest('li')?.dataset.clip"))


def test_edits_made_by_keys_are_what_prepare_takes_in(
    opened: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    press = opened.keyboard.press
    assert names(opened) == LEAST_SURE_FIRST
    assert focused(opened) == "TOM/one"
    press("e")
    opened.keyboard.insert_text(" At  all.")
    press("Enter")
    assert text(opened, "TOM/one") == "Nobody minded <b>that</b> much. At all."
    press("ArrowDown")
    assert focused(opened) == "MIA/talk-0001"
    press("s")
    for key in ("Home", "ArrowRight", "Enter"):  # before "from"
        press(key)
    assert names(opened)[1:3] == ["MIA/talk-0001", "MIA/talk-0001+"]
    assert text(opened, "MIA/talk-0001+") == "from Kyoto."
    go_to(opened, "MIA/talk-0001+")
    press("j")
    assert text(opened, "MIA/talk-0001+") == "from Kyoto. The train leaves at nine."
    go_to(opened, "TOM/two")
    press("x")
    assert names(opened) == ["TOM/one", "MIA/talk-0001", "MIA/talk-0001+", "MIA/talk-0003"]
    assert focused(opened) == "MIA/talk-0003"
    press("x")
    press("u")
    assert focused(opened) == "MIA/talk-0003"
    assert opened.locator("#changed").text_content() == "4 of 5 changed"
    assert "not yet in a file" in opened.locator("#kept").text_content()
    file = tmp_path / "edits.json"
    assert [edit["kind"] for edit in save(opened, file)] == ["text", "split", "join", "leave-out"]
    assert opened.locator("#kept").text_content() == "saved to a file"

    copy = tmp_path / "voices"
    shutil.copytree(data, copy)
    assert run_command(["prepare", str(copy), "--edits", str(file)]) == 0
    assert "4 edits taken in" in capsys.readouterr().out
    assert {clip.clip: clip.text for clip in clips_now(copy)} == {
        "MIA/talk-0001": "Good morning",
        "MIA/talk-0001+": "from Kyoto. The train leaves at nine.",
        "MIA/talk-0003": HOSTILE,
        "TOM/one": "Nobody minded <b>that</b> much. At all.",
    }
    lengths = {path.stem: soundfile.info(path).duration for path in (copy / "MIA").glob("*.wav")}
    assert lengths == pytest.approx({"talk-0001": 0.95, "talk-0001+": 1.05 + 1.5, "talk-0003": 1.0}, abs=1e-3)


def test_a_page_keeps_its_edits_and_takes_a_saved_file_in_again(opened: Any, tmp_path: Path) -> None:
    go_to(opened, "MIA/talk-0002")
    opened.keyboard.press("x")
    file = tmp_path / "edits.json"
    save(opened, file)
    opened.reload()
    assert names(opened) == [name for name in LEAST_SURE_FIRST if name != "MIA/talk-0002"]
    opened.keyboard.press("u")
    assert names(opened) == LEAST_SURE_FIRST
    opened.keyboard.press("u")
    assert opened.locator("#notice").text_content() == "There is nothing to undo."
    opened.locator("#load-edits").set_input_files(file)
    wait_until(opened, "document.querySelector('#changed').textContent === '1 of 5 changed'")
    assert "MIA/talk-0002" not in names(opened)


def test_files_with_other_things_are_refused(opened: Any, tmp_path: Path) -> None:
    told: list[str] = []
    opened.on("dialog", lambda dialog: (told.append(dialog.message), dialog.accept()))
    contents = ["{", '{"votes": []}', '[{"kind": "text", "clip": "TOM/one"}]']
    contents.append('[{"kind": "leave-out", "clip": "TOM/three"}]')
    for number, content in enumerate(contents, start=1):
        (tmp_path / "x.json").write_text(content, encoding="utf-8")
        opened.locator("#load-edits").set_input_files(tmp_path / "x.json")
        for _ in range(200):
            if len(told) == number:
                break
            opened.wait_for_timeout(20)
    assert len(told) == len(contents)
    assert all("does not hold edits" in message for message in told[:3])
    assert "edits of other clips" in told[3]
    assert opened.locator("#changed").text_content() == "0 of 5 changed"


def test_what_is_impossible_is_said_and_changes_nothing(opened: Any) -> None:
    notice = opened.locator("#notice")
    go_to(opened, "TOM/two")
    opened.keyboard.press("e")
    opened.locator("textarea").fill("Rained.")
    opened.keyboard.press("Enter")
    opened.keyboard.press("s")
    assert "TOM/two has no two words to be split between" in notice.text_content()
    opened.keyboard.press("u")
    go_to(opened, "MIA/talk-0003")
    opened.keyboard.press("j")
    assert "No clip of its folder lies behind" in notice.text_content()
    go_to(opened, "TOM/one")
    opened.keyboard.press("e")
    for typed, said in {"": "would be empty", "<|im_end|> x": "steer the model", "…": "no words"}.items():
        opened.locator("textarea").fill(typed)
        opened.keyboard.press("Enter")
        assert said in notice.text_content()
    opened.keyboard.press("Escape")
    assert text(opened, "TOM/one") == CLIPS["TOM/one"][1]
    assert opened.locator("#save").is_disabled()


@pytest.fixture(scope="module")
def unheard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that nothing heard, with its page: one clip that has a pause of 0.5 s from 1.2 s on."""
    data = tmp_path_factory.mktemp("unheard") / "data"
    (data / "S").mkdir(parents=True)
    parts = [sound(1.2, 150), np.zeros(SAMPLE_RATE // 2, np.float32), sound(0.8, 150)]
    soundfile.write(data / "S" / "a.wav", np.concatenate(parts), SAMPLE_RATE)
    (data / "S" / "a.lab").write_text("There was a pause. It ended.", encoding="utf-8")
    write_proofreading_page(data, data / "proofread.html", None, Reporter())
    return data


def test_a_clip_that_nothing_heard_is_split_in_the_pause_that_is_nearest(
    browser: Any, unheard: Path, tmp_path: Path
) -> None:
    with opened_page(browser, unheard / "proofread.html", "#rows li") as page:
        page.keyboard.press("s")
        assert page.evaluate("document.activeElement.textContent") == "It"
        about = page.locator(".gap")
        assert "At about 1.45 s, estimated, in a pause of 0.50 s" in about.text_content()
        assert "fishtune validate --listen" in about.text_content()
        page.keyboard.press("ArrowRight")
        assert "estimated: there is no pause near" in about.text_content()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("p")
        wait_until(page, f"{SOUNDING}.length === 1")
        position = page.evaluate("[...document.querySelectorAll('audio')].map(each => each.currentTime)")
        assert 1.4 <= max(position) < 1.8
        page.keyboard.press("Enter")
        assert names(page) == ["S/a", "S/a+"]
        # Parts, and texts that were changed, have their places as well.
        go_to(page, "S/a")
        page.keyboard.press("e")
        page.locator("textarea").fill("There was one pause.")
        page.keyboard.press("Enter")
        page.keyboard.press("s")
        assert page.locator(".word").count() == 3
        page.keyboard.press("Escape")
        (edit, _) = save(page, tmp_path / "edits.json")
        assert edit["at"] == pytest.approx(1.45, abs=0.02)
    copy = tmp_path / "data"
    shutil.copytree(unheard, copy)
    assert run_command(["prepare", str(copy), "--edits", str(tmp_path / "edits.json")]) == 0
    assert {clip.clip: clip.text for clip in clips_now(copy)} == {
        "S/a": "There was one pause.",
        "S/a+": "It ended.",
    }


def test_the_page_finds_the_places_that_the_engine_finds(browser: Any) -> None:
    folder = Path(page_module.__file__).parent
    page = browser.new_page()
    for name in ("edits.js", "places.js"):
        page.add_script_tag(content=(folder / name).read_text(encoding="utf-8"))
    draw = random.Random(5)
    for _ in range(150):
        made = {name: _sounding(draw) for name in ("S/a", "S/b")}
        pieces = tuple(
            Piece(name, *sorted(round(draw.uniform(0, made[name].seconds), 3) for _ in range(2)))
            for name in draw.sample(sorted(made), draw.randint(1, 2))
        )
        text = " ".join(draw.choices(["one", "two,", "세", "четыре.", "“five”", "—"], k=draw.randint(1, 9)))
        sounding = sounding_of(pieces, made)
        wanted = [[gap.at, gap.pause, gap.is_estimated] for gap in gaps_of(text, sounding)]
        told = [text, [asdict(piece) for piece in pieces], {name: asdict(made[name]) for name in made}]
        found = page.evaluate(
            "([text, pieces, made]) => gapsOf(text, soundingOf(pieces, made))"
            ".map((gap) => [gap.at, gap.pause, gap.isEstimated])",
            told,
        )
        assert found == [
            [pytest.approx(at, abs=2e-3), pytest.approx(pause, abs=0.011), estimated]
            for at, pause, estimated in wanted
        ], told
    page.close()


def _sounding(draw: random.Random) -> Sounding:
    seconds = draw.uniform(0.5, 4)

    def stretches(most: int) -> Iterator[tuple[float, float]]:
        edges = sorted(round(draw.uniform(0, seconds), 3) for _ in range(2 * draw.randint(0, most)))
        yield from zip(edges[::2], edges[1::2], strict=True)

    words = tuple(Spoken(draw.choice(["One", "two", "세", "xx"]), *times) for times in stretches(6))
    return Sounding(seconds, words, tuple(stretches(5)))


def test_a_clip_is_not_joined_with_one_that_the_page_does_not_show(
    browser: Any, data: Path, tmp_path: Path
) -> None:
    write_proofreading_page(data, tmp_path / "two.html", 2, Reporter())
    with opened_page(browser, tmp_path / "two.html", "#rows li") as page:
        assert names(page) == LEAST_SURE_FIRST[:2]
        go_to(page, "MIA/talk-0001")
        page.keyboard.press("j")
        assert "behind MIA/talk-0001 is not in this page" in page.locator("#notice").text_content()
        page.keyboard.press("x")
        assert page.locator("#changed").text_content() == "1 of 2 changed"


def test_clips_sound_as_they_are_after_the_edits(opened: Any) -> None:
    opened.keyboard.press(" ")
    wait_for_sound(opened, 0.1)
    assert row(opened, "TOM/one").locator(".play").get_attribute("aria-pressed") == "true"
    opened.keyboard.press("e")
    opened.keyboard.press("Shift+Enter")
    wait_until(opened, f"{SOUNDING}.length === 0")
    opened.keyboard.press("Escape")
    opened.keyboard.press("j")  # 1.2 s and 0.8 s
    assert row(opened, "TOM/one").locator(".time").text_content() == "2.0 s"
    opened.evaluate(
        "window.heard = []; document.getElementById('sound').addEventListener('playing',"
        " (event) => heard.push([event.target.duration, event.target.currentTime]), true)"
    )
    opened.keyboard.press(" ")
    wait_until(opened, "heard.length === 2")
    wait_until(opened, f"{SOUNDING}.length === 0")
    first, second = opened.evaluate("heard")
    assert first == pytest.approx([1.2, 0], abs=0.1) and second == pytest.approx([0.8, 0], abs=0.1)

    go_to(opened, "MIA/talk-0001")
    opened.keyboard.press("s")
    opened.keyboard.press("End")
    opened.keyboard.press("Enter")  # 1.45 s and 0.55 s
    go_to(opened, "MIA/talk-0001+")
    opened.keyboard.press(" ")
    wait_until(opened, "heard.length === 3")
    (_, begun) = opened.evaluate("heard[2]")
    assert begun == pytest.approx(1.45, abs=0.1)
    opened.keyboard.press(" ")
    wait_until(opened, f"{SOUNDING}.length === 0")
    go_to(opened, "MIA/talk-0001")
    opened.keyboard.press(" ")
    wait_until(opened, "heard.length === 4")
    wait_until(opened, f"{SOUNDING}.length === 0")
    stopped = opened.evaluate("[...document.querySelectorAll('audio')].map(each => each.currentTime)")
    assert max(stopped) == pytest.approx(1.45, abs=0.1), "the first part ends where the second begins"


def test_clips_are_searched_filtered_and_sorted(opened: Any) -> None:
    opened.keyboard.press("/")
    opened.keyboard.insert_text("KYOTO")
    assert names(opened) == ["MIA/talk-0001"]
    opened.keyboard.press("Enter")
    assert focused(opened) == "MIA/talk-0001"
    opened.get_by_label("Search").fill("")
    opened.get_by_label("Show").select_option("doubtful")
    assert names(opened) == []
    opened.get_by_label("Show").select_option("all")
    opened.get_by_label("Sort by").select_option("order")
    assert names(opened) == sorted(CLIPS)
    opened.get_by_label("Sort by").select_option("shortest")
    assert names(opened)[0] == "TOM/two"
    go_to(opened, "TOM/two")
    opened.keyboard.press("x")
    opened.get_by_label("Show").select_option("changed")
    assert names(opened) == []
    assert row(opened, "TOM/one").count() == 0


def test_doubtful_words_are_marked_and_told(opened: Any) -> None:
    assert opened.locator("mark").all_text_contents() == ["minded", "Kyoto."]
    label = row(opened, "MIA/talk-0001").locator(".play").get_attribute("aria-label")
    assert "2.0 seconds" in label and "doubtful: Kyoto." in label


def test_foreign_texts_are_text(opened: Any) -> None:
    assert text(opened, "MIA/talk-0003") == HOSTILE
    go_to(opened, "MIA/talk-0003")
    opened.keyboard.press("e")
    opened.locator("textarea").fill(HOSTILE + " <i>more</i>")
    opened.keyboard.press("Enter")
    assert text(opened, "MIA/talk-0003") == HOSTILE + " <i>more</i>"
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("main img, main b, main i, script[src]").count() == 0


def test_the_page_does_to_clips_what_the_engine_does(browser: Any) -> None:
    script = Path(page_module.__file__).with_name("edits.js").read_text(encoding="utf-8")
    page = browser.new_page()
    page.add_script_tag(content=script)
    spaces = [character for character in map(chr, range(0x3001)) if character.isspace()]
    assert page.evaluate("(spaces) => spaces.every((each) => SPACE.test(each))", spaces)
    assert not page.evaluate("SPACE.test('\\ufeff') || SPACE.test('x')")
    draw = random.Random(7)
    refused = 0
    for _ in range(40):
        made = [_clip(draw, f"S{number % 2}/{number}") for number in range(6)]
        made.sort(key=lambda clip: clip.clip)
        clips = [_for_page(clip) for clip in made]
        for _ in range(8):
            edit = _edit(draw, [str(clip["clip"]) for clip in clips] or ["S0/0"], clips)
            found = page.evaluate(
                "([clips, edit]) => { try { return edited(clips, edit); }"
                " catch (error) { if (error instanceof Refused) return null; throw error; } }",
                [clips, edit],
            )
            try:
                wanted = proofread(made, read_edits([edit], "x"))
            except DataError:
                assert found is None, edit
                refused += 1
                continue
            assert found is not None, edit
            assert [_plain(each) for each in found] == [_plain(_for_page(each)) for each in wanted], edit
            made, clips = wanted, found
    assert 20 < refused < 200
    page.close()


def _clip(draw: random.Random, name: str) -> ProofClip:
    words = [draw.choice(["one", "two,", "세", "<b>", "четыре"]) for _ in range(draw.randint(1, 6))]
    heard = tuple(
        PreparedWord(text=word, start=place + 0.1, end=place + 0.8, probability=draw.randint(1, 99) / 100)
        for place, word in enumerate(words)
    )
    is_heard = draw.random() < 0.7
    return ProofClip(
        name,
        (Piece(name, 0.0, float(len(words))),),
        " ".join(words),
        draw.choice([None, 0.25, 0.75]),
        heard if is_heard else (),
    )


def _edit(draw: random.Random, known: list[str], clips: list[dict[str, Any]]) -> dict[str, Any]:
    clip = draw.choice(known) if draw.random() < 0.95 else "S0/none"
    kind = draw.choice(["text", "leave-out", "split", "split", "split", "join", "join"])
    if kind == "text":
        return {"kind": kind, "clip": clip, "text": draw.choice([" five  six\u2003seven ", "  ", "acht"])}
    if kind == "split":
        found = [each for each in clips if each["clip"] == clip]
        most = len(str(found[0]["text"]).split()) if found else 3
        at = draw.randint(1, 10 * most + 3) / 10 - 0.05
        return {"kind": kind, "clip": clip, "at": round(at, 3), "before": draw.randint(1, most)}
    return {"kind": kind, "clip": clip}


def _for_page(clip: ProofClip) -> dict[str, Any]:
    pieces = [{"clip": each.clip, "start": each.start, "end": each.end} for each in clip.pieces]
    words = [word.model_dump() for word in clip.words]
    return {
        "clip": clip.clip,
        "sound": 0,
        "pieces": pieces,
        "text": clip.text,
        "score": clip.score,
        "words": words,
    }


def _plain(clip: dict[str, Any]) -> Any:
    """Return a clip with its numbers rounded: halves are rounded to even in Python, and up in a browser."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(each) for key, each in value.items()}
        if isinstance(value, list):
            return [rounded(each) for each in value]
        return pytest.approx(value, abs=0.011) if isinstance(value, (int, float)) else value

    return rounded(clip)


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_speaks_korean_and_fits_every_screen(
    browser: Any, data: Path, size: tuple[int, int], scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, locale="ko-KR"
    )
    page = context.new_page()
    page.goto((data / "proofread.html").as_uri())
    page.wait_for_selector("#rows li")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.locator("h1").text_content() == "교정: voices"
    page.keyboard.press("e")
    go_to(page, "MIA/talk-0001")
    page.keyboard.press("s")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"
    assert dark == (scheme == "dark")
    assert page.evaluate(NAMELESS) == 0, "a control without a name"
    page.locator(".keys summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    context.close()
