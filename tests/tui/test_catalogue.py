"""The catalogue: nothing missing, nothing stale, and translations that fit their keys."""

from __future__ import annotations

import gettext
import importlib.util
import io
import string
from pathlib import Path
from types import ModuleType

import pytest
from fishtune.tui import catalogue
from fishtune.tui.catalogue import LOCALE_FOLDER, sentence, use_language


@pytest.fixture(scope="module")
def update() -> ModuleType:
    script = Path(__file__).parents[2] / "benchmarks" / "catalogue.py"
    specification = importlib.util.spec_from_file_location("catalogue_update", script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


PO = [LOCALE_FOLDER / language / "LC_MESSAGES" / "fishtune.po" for language in catalogue.LANGUAGES[1:]]


@pytest.mark.parametrize("file", PO, ids=lambda file: file.parent.parent.name)
def test_no_text_of_the_wizard_is_without_translation(update: ModuleType, file: Path) -> None:
    own, spoken = update.collect()
    entries = update.read_po(file)
    missing = [key for key in (*own, *spoken) if not entries.get(key)]
    assert missing == [], "translate these in the .po file, then run: python benchmarks/catalogue.py"


@pytest.mark.parametrize("file", PO, ids=lambda file: file.parent.parent.name)
def test_the_compiled_catalogue_is_what_the_text_says(update: ModuleType, file: Path) -> None:
    compiled = file.with_suffix(".mo").read_bytes()
    assert compiled == update.compile_mo(update.read_po(file)), "run: python benchmarks/catalogue.py"
    loaded = gettext.GNUTranslations(io.BytesIO(compiled))
    assert loaded.gettext("Dataset") != "Dataset"


@pytest.mark.parametrize("file", PO, ids=lambda file: file.parent.parent.name)
def test_translations_fill_in_what_their_keys_fill_in(update: ModuleType, file: Path) -> None:
    def places(text: str) -> set[str]:
        return {
            name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name is not None
        }

    for key, translation in update.read_po(file).items():
        one = key.partition("\0")[0]
        if "{}" in key:
            number = key.count("{}")
            translation.format(*range(number))
            numbered = {str(n) for n in range(number)}
            assert places(translation) in ({""}, numbered) or number == 1, key
            assert translation.count("{") == number, key
        elif "{braces}" not in key:
            assert places(one) == places(translation), key


def test_sentences_of_the_engine_are_translated_with_their_names_and_numbers() -> None:
    assert sentence("8 clips of 1 speaker, not checked yet.") == "8 clips of 1 speaker, not checked yet."
    use_language("ko")
    assert sentence("Job 20261123-train is at work.") == "작업 20261123-train이(가) 실행 중입니다."
    assert sentence("2 of 8 clips have codes.", of_steps=True) == "클립 8개 중 2에 코드가 있습니다."
    assert sentence("Somebody is in trouble.") == "Somebody is in trouble."
    assert sentence("No such sentence at all.") == "No such sentence at all."
