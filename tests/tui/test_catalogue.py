"""The catalogue: nothing missing, nothing stale, and translations that fit their keys."""

from __future__ import annotations

import ast
import gettext
import string
import sys
from pathlib import Path

import catalogue_update as update
import pytest
from engine_texts import NOT_SHOWN, PLACE, ROOT, called, engine_texts, is_text, texts_of
from fishtune.core import errors
from fishtune.tui.catalogue import sentence, use_language
from fishtune.tui.particles import fill
from fishtune.tui.sentences import Sentences

BY_FILE = pytest.mark.parametrize("file", update.PO_FILES, ids=lambda file: file.parent.parent.name)
UPDATE = "translate what it lists and run: make catalogue"


@BY_FILE
def test_no_text_of_the_wizard_or_the_engine_is_without_translation(file: Path) -> None:
    entries = update.translations(update.load(file))
    assert [key for key in update.collect() if not entries.get(key)] == [], UPDATE


def test_the_sentences_that_are_looked_up_are_those_of_the_engine() -> None:
    assert update.ENGINE_KEYS.read_text(encoding="utf-8") == update.engine_keys(update.collect()), UPDATE


@BY_FILE
def test_the_compiled_catalogue_is_what_the_text_says(file: Path) -> None:
    with file.with_suffix(".mo").open("rb") as content:
        compiled = gettext.GNUTranslations(content)
    for key, said in update.translations(update.load(file)).items():
        found = compiled.ngettext(*key, 1) if isinstance(key, tuple) else compiled.gettext(key)
        assert found == said, UPDATE


@BY_FILE
def test_translations_fill_in_what_their_keys_fill_in(file: Path) -> None:
    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    for key, said in update.translations(update.load(file)).items():
        one = key[0] if isinstance(key, tuple) else key
        number = one.count(PLACE)
        if not said:
            continue  # the first test names it
        if number:
            said.format(*range(number))
            assert said.count("{") == number, key
            assert places(said) in ({""}, {str(n) for n in range(number)}), key
        elif "{braces}" not in one:
            assert places(one) == places(said), key


def test_every_plural_form_of_a_new_language_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "de" / "LC_MESSAGES" / "fishtune.po"
    file.parent.mkdir(parents=True)
    file.touch()
    key = ("{number} clip", "{number} clips")
    assert update.update(file, {key: "x.py"}) == [key]
    text = file.read_text(encoding="utf-8").replace('msgstr[0] ""', 'msgstr[0] "{number} Aufnahme"')
    file.write_text(text, encoding="utf-8")
    assert update.update(file, {key: "x.py"}) == [key], "half of it is translated"
    text = file.read_text(encoding="utf-8").replace('msgstr[1] ""', 'msgstr[1] "{number} Aufnahmen"')
    file.write_text(text, encoding="utf-8")
    assert update.update(file, {key: "x.py"}) == []
    with file.with_suffix(".mo").open("rb") as content:
        compiled = gettext.GNUTranslations(content)
    assert [compiled.ngettext(*key, number) for number in (1, 2)] == [
        "{number} Aufnahme",
        "{number} Aufnahmen",
    ]


SAYING = {
    "warn",
    "check_stop",
    "StopRequested",
    "ItemFailed",
    "Warned",
    "Stopped",
    "Finding",
    "error",
    "warning",
}
ERRORS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
}


def test_whatever_is_raised_warned_of_or_found_stands_in_the_catalogue() -> None:
    keys = list(engine_texts())
    checked = 0
    for path in sorted((ROOT / "core").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.startswith(NOT_SHOWN):
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or called(call) not in SAYING | ERRORS | {
                "_drop",
                "_DropError",
            }:
                continue
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            for node in (node for value in values for node in ast.walk(value)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_text(node.value):
                    checked += 1
                    assert any(node.value in key for key in keys), f"{name}:{node.lineno}: {node.value!r}"
    assert checked > 400


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ("raise E(f'{path} is gone.', 'Look for it.')", ["{} is gone.", "Look for it."]),
        (
            "say('It is ' + ('far' if far else 'near') + ' the end.')",
            ["It is far the end.", "It is near the end."],
        ),
        ('say(f\'{n} clip{"s" if n > 1 else ""} left.\')', ["{} clips left.", "{} clip left."]),
        (
            "def f():\n more = f' and {n} others' if n else ''\n say(f'It lacks {name}{more}.')",
            ["It lacks {} and {} others.", "It lacks {}."],
        ),
        ("HINT = 'Try it again.'\nraise E(text, f'Wait. {HINT}')", ["Try it again.", "Wait. {}"]),
        ("'''A module that does things.'''\nreporter.log(f'step {n} done')\nassert ok, 'it is so'", []),
        ("raise RuntimeError('never seen by people')\nre.compile('some pattern')", []),
    ],
)
def test_texts_are_collected_as_the_code_builds_them(code: str, texts: list[str]) -> None:
    assert sorted(texts_of(ast.parse(code))) == sorted(texts)


def test_sentences_of_the_engine_are_translated_with_their_names_and_numbers() -> None:
    assert sentence("8 clips of 1 speaker, not checked yet.") == "8 clips of 1 speaker, not checked yet."
    use_language("ko")
    assert sentence("Job 20261123-train is at work.") == "작업 20261123-train: 실행 중입니다."
    assert sentence("The checkpoint 8 does not exist.") == "체크포인트 8이 없습니다."
    assert sentence("2 of 8 clips have codes.") == "클립 8개 중 2개에 코드가 있습니다."
    assert sentence("Somebody is in trouble.") == "Somebody is in trouble."
    assert sentence("No such sentence at all.") == "No such sentence at all."


@pytest.mark.parametrize(
    ("template", "parts", "said"),
    [
        ("{}이(가) 있습니다", ["유나"], "유나가 있습니다"),
        ("{}이(가) 있습니다", ["'책'"], "'책'이 있습니다"),
        ("{}을(를) 셉니다", ["8"], "8을 셉니다"),
        ("{}을(를) 셉니다", ["1,024"], "1,024를 셉니다"),
        ("{}(으)로 답했습니다", ["301"], "301로 답했습니다"),
        ("{}(으)로 답했습니다", ["403"], "403으로 답했습니다"),
        ("{}(으)로 답했습니다", ["서울"], "서울로 답했습니다"),
        (
            "{1}은(는) {0}과(와)",
            ["openaudio-s1-mini", "myvoice-merged"],
            "myvoice-merged는 openaudio-s1-mini와",
        ),
        ("{0}이(가) {1}보다", ["model", "a"], "model이 a보다"),
        ("{}이(가) 무음입니다", ["6 %"], "6 %이(가) 무음입니다"),
        ("{}이(가) 있습니다", ["a.mp3"], "a.mp3이(가) 있습니다"),
        ("{}이(가) 있습니다", ["base"], "base이(가) 있습니다"),
        ("{}이(가) 있습니다", ["{0}이(가) {}"], "{0}이(가) {}가 있습니다"),
        ("'{}'이(가) 있습니다", ["GPU"], "'GPU'가 있습니다"),
        ("{}이(가) 있습니다", [""], "이(가) 있습니다"),
    ],
)
def test_korean_particles_follow_the_sound_before_them(template: str, parts: list[str], said: str) -> None:
    assert fill(template, parts) == said


def test_english_costs_nothing() -> None:
    sys.modules.pop("fishtune.tui.sentences", None)
    assert sentence("Nothing was written.") == "Nothing was written."
    assert "fishtune.tui.sentences" not in sys.modules


@pytest.fixture
def shout() -> Sentences:
    """A language in which everything is loud and the other way round."""
    told = {
        "{} is lost in {}.": "{1}: LOST {0}.",
        "Look for {}": "SEEK {}",
        "no door": "NO DOOR",
        "{} is empty.": "EMPTY {}.",
        "{} min {} s": "{}M{}S",
        "weights": "WEIGHTS",
        "It takes {} of your time.": "TAKES {}.",
        "It went wrong: {}": "WRONG: {}",
    }
    return Sentences([key for key in told if PLACE in key], lambda text: told.get(text, text))


@pytest.mark.parametrize(
    ("english", "said"),
    [
        ("a b is lost in c d.", "c d: LOST a b."),
        ("x is empty. Look for y", "EMPTY x. SEEK y"),
        ("x is empty. Nobody knows why.", "EMPTY x. Nobody knows why."),
        ("It takes 3 min 20 s of your time.", "TAKES 3M20S."),
        ("It went wrong: x is empty.", "WRONG: EMPTY x."),
        ("It went wrong: no door; x is empty.; who knows", "WRONG: NO DOOR; EMPTY x.; who knows"),
        ("no door (3)", "NO DOOR (3)"),
        ("It went wrong: no door (3), no door (1)", "WRONG: NO DOOR (3), NO DOOR (1)"),
        ("weights is lost in weights.", "weights: LOST weights."),  # names of people's own
        (
            "It went wrong: the whole of the long answer by somebody else is empty.",
            "WRONG: the whole of the long answer by somebody else is empty.",
        ),
        ("{} is lost in {0}.", "{0}: LOST {}."),
    ],
)
def test_a_sentence_is_found_by_its_words_and_foreign_text_is_left_alone(
    shout: Sentences, english: str, said: str
) -> None:
    assert shout.say(english) == said
