"""The catalogue: nothing missing, nothing stale, and translations that fit their keys."""

from __future__ import annotations

import ast
import gettext
import re
import string
import unicodedata
from pathlib import Path

import catalogue_update as update
import pytest
from fishtune.core.messages import Message, joined, plural
from fishtune.core.particles import fill
from fishtune.tui.catalogue import sentence, use_language
from templates import (
    ERRORS,
    NOT_SHOWN,
    PLACES_OF_TEMPLATES,
    ROOT,
    called,
    engine_texts,
    faults_in,
    files,
    is_text,
    templates_in,
)

BY_FILE = pytest.mark.parametrize("file", update.PO_FILES, ids=lambda file: file.parent.parent.name)
UPDATE = "translate what it lists and run: make catalogue"


@BY_FILE
def test_no_text_of_the_wizard_or_the_engine_is_without_translation(file: Path) -> None:
    entries = update.translations(update.load(file))
    assert [key for key in update.collect() if not entries.get(key)] == [], UPDATE


def test_korean_particles_after_a_place_are_computed_where_they_can_be_and_nowhere_fixed() -> None:
    fixed = re.compile(
        r"\{[A-Za-z_]\w*(:[^{}]*)?\}['\"”’]?(은|는|이|가|을|를|과|와|으로|로|이라|라)(?=[\s.,;:)]|$)"
    )
    both = re.compile(r"이\(가\)|을\(를\)|은\(는\)|과\(와\)|\(으\)로|\(이\)")
    korean = update.translations(update.load(update.LOCALE / "ko" / "LC_MESSAGES" / "fishtune.po"))
    computed = engine_texts()  # the wizard's own texts are filled in without a look at what comes before
    wrong = [said for key, said in korean.items() if fixed.search(said)]
    assert wrong + [said for key, said in korean.items() if key not in computed and both.search(said)] == []


@BY_FILE
def test_the_compiled_catalogue_is_what_the_text_says(file: Path) -> None:
    with file.with_suffix(".mo").open("rb") as content:
        compiled = gettext.GNUTranslations(content)
    for key, said in update.translations(update.load(file)).items():
        found = compiled.ngettext(*key, 1) if isinstance(key, tuple) else compiled.gettext(key)
        assert found == said, UPDATE


@BY_FILE
def test_translations_fill_in_what_their_keys_fill_in(file: Path) -> None:
    def places(text: str) -> set[tuple[str, str | None]]:
        return {(name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None}

    for key, said in update.translations(update.load(file)).items():
        one = key[0] if isinstance(key, tuple) else key
        if said and "{braces}" not in one:  # the first test names what lacks a translation
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


ALLOWED = {"core/messages.py": 1, "core/config/strict.py": 1}
"""Templates that are no literals: texts that are joined, and pydantic's own."""


def test_every_template_is_a_literal_and_has_a_value_for_each_place() -> None:
    found = {}
    for path in files():
        name = str(path.relative_to(ROOT))
        faults = list(faults_in(ast.parse(path.read_text(encoding="utf-8"))))
        if len(faults) != ALLOWED.get(name, 0):
            found[name] = faults
    assert found == {}


def test_whatever_is_raised_warned_of_or_found_stands_in_the_catalogue() -> None:
    keys = engine_texts()
    checked = 0
    for path in files():
        name = str(path.relative_to(ROOT))
        if name.startswith(NOT_SHOWN):
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or called(call) not in {
                *PLACES_OF_TEMPLATES,
                "_drop",
                "_DropError",
            }:
                continue
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            for node in (node for value in values for node in ast.walk(value)):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and " " in node.value.strip()
                    and is_text(node.value)
                ):
                    checked += 1
                    assert node.value in keys, f"{name}:{node.lineno}: {node.value!r}"
    assert checked > 600
    assert len(ERRORS) > 15


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        (
            "raise DataError('{file} is gone.', 'Look for it.', file=path)",
            ["{file} is gone.", "Look for it."],
        ),
        ("Message('near' if near else 'far')", ["near", "far"]),
        ("raise DataError(why, hint or 'Look for it.')", ["Look for it."]),
        ("plural(n, '{number} clip', '{number} clips')", ["{number} clip", "{number} clips"]),
        ("warning(FindingKind.X, path, '{file} is odd.', HINT, file=path)", ["{file} is odd."]),
        ("reporter.log('step 1 done')\nprint('it is so')", []),
    ],
)
def test_templates_are_collected_from_the_calls_that_take_them(code: str, texts: list[str]) -> None:
    assert list(templates_in(ast.parse(code))) == texts
    assert list(faults_in(ast.parse(code))) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("raise DataError(f'{path} is gone.')", "1: not a literal: f'{path} is gone.'"),
        ("raise DataError('It is ' + what)", "1: not a literal: 'It is ' + what"),
        ("Message('; '.join(problems))", "1: not a literal: '; '.join(problems)"),
        ("warn('{} is gone.'.format(path))", "1: not a literal: '{} is gone.'.format(path)"),
        ("hint = f'Look for {it}.'\nraise DataError('Gone.', hint)", "2: not a literal: hint"),
        ("hint = 'Look for it.'\nraise DataError('Gone.', hint)", "2: not a literal: hint"),
        ("raise DataError('{file} is gone.', path=path)", "1: no value for {file}"),
        ("raise DataError('It is gone.', file=path)", "1: file fills no place"),
    ],
)
def test_what_no_translation_could_be_found_for_is_a_fault(code: str, fault: str) -> None:
    assert fault in list(faults_in(ast.parse(code)))


def test_sentences_of_the_engine_are_translated_with_their_names_and_numbers() -> None:
    clips = plural(8, "{number} clip", "{number:,} clips")
    counted = Message(
        "{count} of {speakers}", count=clips, speakers=plural(1, "{number} speaker", "{number:,} speakers")
    )
    said = Message("{what}, not checked yet.", what=counted)
    assert sentence(said) == "8 clips of 1 speaker, not checked yet."
    use_language("ko")
    assert (
        sentence(Message("Job {job} is running.", job="20261123-train"))
        == "작업 20261123-train: 실행 중입니다."
    )
    assert (
        sentence(Message("The checkpoint {checkpoint} does not exist.", checkpoint=8))
        == "체크포인트 8이 없습니다."
    )
    assert (
        sentence(Message("{coded} of {count} have codes.", coded=2, count=clips))
        == "클립 8개 중 2개에 코드가 있습니다."
    )
    several = joined([Message("Nothing was written."), Message("Or raise --max-length.")])
    assert sentence(several) == "아무것도 저장하지 않았습니다. 또는 --max-length를 늘리세요."
    assert sentence(Message("No such sentence at all.")) == "No such sentence at all."


def test_a_name_that_reads_like_a_text_of_the_engine_stays_as_it_is() -> None:
    use_language("ko")
    assert sentence("weights") == "weights"
    assert sentence(Message("{file} is empty.", file="weights")).startswith("weights")
    assert "{file}" in sentence(Message("{file} is empty.", file="{file}"))


@pytest.mark.parametrize(
    ("template", "values", "said"),
    [
        ("{a}이(가) 있습니다", {"a": "유나"}, "유나가 있습니다"),
        ("{a}이(가) 있습니다", {"a": "'책'"}, "'책'이 있습니다"),
        ("{a}을(를) 셉니다", {"a": "8"}, "8을 셉니다"),
        ("{a}을(를) 셉니다", {"a": "1,024"}, "1,024를 셉니다"),
        ("{a}(으)로 답했습니다", {"a": "301"}, "301로 답했습니다"),
        ("{a}(으)로 답했습니다", {"a": "403"}, "403으로 답했습니다"),
        ("{a}(으)로 답했습니다", {"a": "서울"}, "서울로 답했습니다"),
        (
            "{b}은(는) {a}과(와)",
            {"a": "openaudio-s1-mini", "b": "myvoice-merged"},
            "myvoice-merged는 openaudio-s1-mini와",
        ),
        ("{a}이(가) {b}보다", {"a": "model", "b": "a"}, "model이 a보다"),
        ("{a}이(가) 무음입니다", {"a": "6 %"}, "6 %가 무음입니다"),
        ("{a:.0%}이(가) 무음입니다", {"a": 0.06}, "6%가 무음입니다"),
        ("{a}%이(가) 무음입니다", {"a": "6"}, "6%가 무음입니다"),
        ("{a}이(가) 있습니다", {"a": "a.mp3"}, "a.mp3가 있습니다"),
        ("{a}이(가) 있습니다", {"a": "clip.wav"}, "clip.wav가 있습니다"),
        ("{a}이(가) 있습니다", {"a": "clip.flac"}, "clip.flac이 있습니다"),
        ("{a}이(가) 있습니다", {"a": "clip.lab"}, "clip.lab이 있습니다"),
        ("{a}(으)로 저장", {"a": "step_000000300.ckpt"}, "step_000000300.ckpt로 저장"),
        ("{a}을(를) 엽니다", {"a": "fishtune.toml"}, "fishtune.toml을 엽니다"),
        ("{a}(으)로 저장", {"a": "fishtune.toml"}, "fishtune.toml로 저장"),
        ("{a}을(를) 엽니다", {"a": "take_"}, "take_을(를) 엽니다"),
        ("{a}을(를) 엽니다", {"a": "유나_"}, "유나_를 엽니다"),
        (
            "{a}을(를) 엽니다",
            {"a": unicodedata.normalize("NFD", "녹음")},
            unicodedata.normalize("NFD", "녹음") + "을 엽니다",
        ),
        ("{a}이(가) 필요합니다", {"a": "12.4 GiB"}, "12.4 GiB가 필요합니다"),
        ("{a} GB이(가) 필요합니다", {"a": "80"}, "80 GB가 필요합니다"),
        ("{a}이(가) 남았습니다", {"a": "1 h 04 min"}, "1 h 04 min이 남았습니다"),
        ("{a}이(가) 남았습니다", {"a": "2 h"}, "2 h이 남았습니다"),
        ("{a}을(를) 달렸습니다", {"a": "5 km"}, "5 km를 달렸습니다"),
        ("{a}(으)로 낮춥니다", {"a": "-3 dB"}, "-3 dB로 낮춥니다"),
        ("{a}을(를) 낮춥니다", {"a": "-3 dB"}, "-3 dB을 낮춥니다"),
        ("{a}이(가) 필요합니다", {"a": "80×24"}, "80×24가 필요합니다"),
        ("{a}이(가) 큽니다", {"a": "(0.5)"}, "(0.5)가 큽니다"),
        ("{a}(으)로 씁니다", {"a": "cuda:1"}, "cuda:1로 씁니다"),
        ("{a}(으)로 씁니다", {"a": "cuda:0"}, "cuda:0으로 씁니다"),
        ("{a}은(는) 없습니다", {"a": "LUFS"}, "LUFS는 없습니다"),
        ("“{a}”은(는) 없습니다", {"a": "clip (7)"}, "“clip (7)”은 없습니다"),
        ("{a}이(가) 있습니다", {"a": "base"}, "base이(가) 있습니다"),
        ("{a}이(가) 있습니다", {"a": "{0}이(가) {}"}, "{0}이(가) {}가 있습니다"),
        ("'{a}'이(가) 있습니다", {"a": "GPU"}, "'GPU'가 있습니다"),
        ("{a}이(가) 있습니다", {"a": ""}, "이(가) 있습니다"),
    ],
)
def test_korean_particles_follow_the_sound_before_them(
    template: str, values: dict[str, str], said: str
) -> None:
    assert fill(template, values) == said
