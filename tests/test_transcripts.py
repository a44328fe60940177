"""Transcripts: what is refused, what is found, and that validation, packing and synthesis give one answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.config.settings import AuditionSettings, PackSettings, SynthSettings, ValidateSettings
from fishtune.core.dataset.findings import Finding, FindingKind, Severity
from fishtune.core.dataset.usage import DropReason
from fishtune.core.errors import DataError, StorageError, UsageError
from fishtune.core.events import Reporter
from fishtune.core.shards.index import ShardIndex
from fishtune.core.stages.audition.run import run as run_audition
from fishtune.core.stages.pack.run import run as run_pack
from fishtune.core.stages.synth.run import run as run_synth
from fishtune.core.stages.validate.run import inspect_clip, run
from fishtune.core.text.encodings import likely_encoding
from fishtune.core.text.mojibake import find_mojibake
from fishtune.core.text.transcripts import LARGEST_TRANSCRIPT, check_typed, read_transcript
from hypothesis import given
from hypothesis import strategies as st

RATE = 16_000


def clip(root: Path, name: str, text: str | bytes, seconds: float = 1.5) -> Path:
    """Write a recording, its transcript and its codes; return the transcript's path."""
    path = root / "S" / f"{name}.lab"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(name.encode())).normal(0, 0.05, round(seconds * RATE))
    soundfile.write(path.with_suffix(".wav"), noise, RATE)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    np.save(path.with_suffix(".npy"), np.zeros((10, 5), int))
    return path


def findings(root: Path) -> list[Finding]:
    report = run(ValidateSettings(data=root, num_workers=1), Reporter())
    return [
        finding
        for finding in report.findings
        if finding.code not in (FindingKind.TOO_LITTLE, FindingKind.LOUDNESS_SPREAD, FindingKind.SAME_AUDIO)
    ]


def pack(root: Path, tmp_path: Path) -> Any:
    settings = PackSettings(input=root, output=tmp_path / "protos", num_workers=1)
    return run_pack(settings, Reporter())


REFUSED = {
    "empty": (" \n", FindingKind.TEXT_EMPTY, DropReason.EMPTY_TEXT),
    "markup": ("{noise} <b>", FindingKind.TEXT_EMPTY, DropReason.EMPTY_TEXT),
    "signs": ("… ♪ — !", FindingKind.TEXT_EMPTY, DropReason.EMPTY_TEXT),
    "filler": ("\u3164\u200b", FindingKind.TEXT_EMPTY, DropReason.EMPTY_TEXT),
    "no phonemes": ("<|phoneme_start|> <|phoneme_end|>", FindingKind.TEXT_EMPTY, DropReason.EMPTY_TEXT),
    "latin": ("grüße".encode("latin-1"), FindingKind.TEXT_NOT_UTF8, DropReason.UNREADABLE_TEXT),
    "utf-16": ("Hello my friend.".encode("utf-16-le"), FindingKind.TEXT_BINARY, DropReason.UNREADABLE_TEXT),
    "utf-16-be": (
        "Hello my friend.".encode("utf-16-be"),
        FindingKind.TEXT_BINARY,
        DropReason.UNREADABLE_TEXT,
    ),
    "nuls": (b"Hello there." + b"\0" * 40, FindingKind.TEXT_BINARY, DropReason.UNREADABLE_TEXT),
    "end": ("so <|im_end|> it is", FindingKind.TEXT_TOKENS, DropReason.TOKENS_IN_TEXT),
    "hidden end": ("so <|im_\u200bend|> it is", FindingKind.TEXT_TOKENS, DropReason.TOKENS_IN_TEXT),
    "half": ("I saw <|phoneme_start|>T UW1 birds.", FindingKind.TEXT_TOKENS, DropReason.TOKENS_IN_TEXT),
    "other half": ("T UW1<|phoneme_end|> birds.", FindingKind.TEXT_TOKENS, DropReason.TOKENS_IN_TEXT),
    "wrong way": ("<|phoneme_end|>T<|phoneme_start|>", FindingKind.TEXT_TOKENS, DropReason.TOKENS_IN_TEXT),
    "large": ("{" * 200_000, FindingKind.TEXT_UNREADABLE, DropReason.UNREADABLE_TEXT),
}


def test_validation_and_packing_refuse_the_same_transcripts_for_the_same_reason(tmp_path: Path) -> None:
    for name, (text, _, _) in REFUSED.items():
        clip(tmp_path / "data", name, text)
    clip(tmp_path / "data", "good", "Good morning, the train leaves.")
    found = {finding.path.stem: finding for finding in findings(tmp_path / "data")}
    assert {name: finding.code for name, finding in found.items() if finding.severity is Severity.ERROR} == {
        name: code for name, (_, code, _) in REFUSED.items()
    }
    dropped = {loss.clip.removeprefix("S/"): loss for loss in pack(tmp_path / "data", tmp_path).dropped}
    assert {name: loss.reason for name, loss in dropped.items()} == {
        name: reason for name, (_, _, reason) in REFUSED.items()
    }
    for name in REFUSED:
        assert (found[name].what, found[name].what_to_do) == (dropped[name].what, dropped[name].what_to_do)
    assert "UTF-16-LE text without a byte order mark" in found["utf-16"].what
    assert "UTF-16-BE text without a byte order mark" in found["utf-16-be"].what


DOUBTFUL = {
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbfHello there.", FindingKind.TEXT_SECOND_MARK, "Hello there."),
    "escape": ("Hello \x1b[31mred\x1b[0m there.", FindingKind.TEXT_CONTROL_CHARACTERS, "Hello red there."),
    "bell": ("Hello\x07 there.", FindingKind.TEXT_CONTROL_CHARACTERS, "Hello there."),
    "c1": ("Hello\x9b there.", FindingKind.TEXT_CONTROL_CHARACTERS, "Hello there."),
    "lost": ("It\ufffds a caf\ufffd.", FindingKind.TEXT_LOST_LETTERS, "It\ufffds a caf\ufffd."),
    "mojibake": ("Itâ€™s a cafÃ©.", FindingKind.TEXT_GARBLED, "Itâ€™s a cafÃ©."),
    "markup": ("so <b>it</b> is", FindingKind.TEXT_STRIPPED, "so it is"),
}
PLAIN = {
    "zero width": ("Hel\u200blo the\u00adre.", "Hello there."),
    "nfd": ("Cafe\u0301, \u1112\u1161\u11ab\u1100\u1173\u11af", "Café, 한글"),
    "phonemes": (
        "I saw <|phoneme_start|>T UW1<|phoneme_end|> birds.",
        "I saw <|phoneme_start|>T UW1<|phoneme_end|> birds.",
    ),
    "quotes": ("“Il est arrivé…” »Spaß« ‘CAFÉ’", "“Il est arrivé…” »Spaß« 'CAFÉ'"),
}


def test_what_packing_changes_or_cannot_mend_is_a_warning_and_the_normal_form_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, (text, *_) in (DOUBTFUL | PLAIN).items():
        clip(data, name, text, seconds=4)
    found = findings(data)
    assert {finding.severity for finding in found} == {Severity.WARNING}
    assert {finding.path.stem: finding.code for finding in found} == {
        name: code for name, (_, code, _) in DOUBTFUL.items()
    }
    assert not [finding.path.stem for finding in found if "ack" not in finding.what]  # says what packing does
    result = pack(data, tmp_path)
    assert result.dropped == []
    index = ShardIndex.open(tmp_path / "protos")
    packed = {index.name(number): index.read(number).texts[0] for number in range(len(index))}
    assert packed == {f"S/{name}": texts[-1] for name, texts in (DOUBTFUL | PLAIN).items()}


ENCODED = [
    *(
        ("cp1252", text)
        for text in ("It’s a “quote” — café.", "grüße", "À bientôt", "Ação não é opção", "€5")
    ),
    *(("cp949", text) for text in ("안녕", "나는 학교에 갔습니다. OK?", "네.", "똠방각하")),
    *(("cp932", text) for text in ("もう一度言っていただけますか。", "日本語", "カタカナ")),
    *(("euc_jp", text) for text in ("海へ行く最後の電車は、九時を少し過ぎた頃に出ます。",)),
    *(("gb18030", text) for text in ("开往海边的最后一班火车九点过几分发车。",)),
    *(("big5", text) for text in ("雨停了以後，我們沿著河邊慢慢地走",)),
    *(("cp1251", text) for text in ("Повторите, пожалуйста, ещё раз.", "Привет")),
    *(("koi8_r", text) for text in ("Последний поезд к морю уходит",)),
    *(("utf-16", text) for text in ("Hello from Notepad.", "안녕하세요")),
    *(("utf-16-le", text) for text in ("Hello my friend.", "안녕하세요", "Привет всем", "grüße dich")),
    *(("utf-16-be", text) for text in ("Hello my friend.", "안녕하세요 여러분", "もう一度言って")),
    *(("utf-32", text) for text in ("Hello there",)),
]


@pytest.mark.parametrize(("encoding", "text"), ENCODED)
def test_the_likely_encoding_is_named_and_the_command_changes_the_file(
    tmp_path: Path, encoding: str, text: str
) -> None:
    path = clip(tmp_path / "it's $data", "a b", text.encode(encoding))
    (finding,) = [item for item in findings(tmp_path / "it's $data") if item.severity is Severity.ERROR]
    assert repr(text[:30]) in finding.what_to_do
    _, _, command = finding.what_to_do.partition("Change it in place with: ")
    subprocess.run(command, shell=True, check=True)
    assert path.read_text(encoding="utf-8") == text


def test_utf8_with_damaged_places_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    path = clip(tmp_path, "a", "안녕하세요 여러분".encode()[:-1])
    with pytest.raises(DataError) as caught:
        read_transcript(path)
    assert "It is UTF-8 with a damaged place" in caught.value.hint


@given(st.binary(max_size=60))
def test_a_likely_encoding_always_decodes(content: bytes) -> None:
    encoding = likely_encoding(content)
    if encoding is not None:
        content.decode(encoding)


def windows(text: str, encoding: str) -> str:
    """Read UTF-8 as Windows programs read it: bytes that the encoding lacks as control characters."""
    return "".join(bytes([byte]).decode(encoding, "ignore") or chr(byte) for byte in text.encode())


ORDINARY = [
    item
    for line in (
        "It’s a “quote” — café.|« Été »|“ARRIVÉ”|“Il est arrivé…”|»Spaß«|“MAÇÔ|MANHÃ…|NESCAFÉ®|NESCAFÉ™",
        "5 Å²|10 Å ± 2|Ô” nói|“Tôi ở nhà…”|„Größe“|ESPAÑA»|»MAß« und »Spaß«|à «bientôt»|Où ? Là : « ça »",
        "안녕하세요 여러분|나는 학교에 갔습니다|你可以再说一遍吗？|联通",
        "开往海边的最后一班火车九点过几分发车|海へ行く最後の電車は、九時を少し過ぎた頃に出ます。",
        "Последний поезд к морю|Tiếng Việt rất đẹp, phải không?|Ước gì tôi được đến đó “ngay”|ÄÖÜ äöüß",
        "Þetta er íslenska æðar|20 °C ± 3|¿Qué?|¡Olé!»|°°°°|İstanbul'da çöğüş|Zażółć gęślą jaźń",
        "Žluťoučký kůň|Ελληνικά|مرحبا بك|สวัสดีครับ|नमस्ते|Ê…”|né…» il|100 €|crêpe à l’«orée»|É»…",
        "“Là-bas…”, “déjà…”|El Niño®|Ðức|façade™|Pokémon®|Ångström²|»Öl…« »Ü…«|l’été©",
    )
    for item in line.split("|")
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_never_taken_for_garbled(text: str) -> None:
    assert find_mojibake(text) == ""


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    "text",
    [
        *("It’s a café.", "été", "Straße", "señor", "CAFÉ OLÉ", "안녕하세요 여러분", "你好世界", "もう一度"),
        *("Привет, мир", "Ελληνικά", "שלום", "zażółć", "İyi günler ş", "Tiếng Việt", "“x”", "😀 ok"),
        *("नमस्ते", "สวัสดี"),
    ],
)
def test_utf8_read_as_latin_letters_is_found(text: str, encoding: str) -> None:
    assert find_mojibake(windows(text, encoding))


@pytest.mark.parametrize(
    "text",
    [
        "안녕하세요 여러분".encode("cp949").decode("latin-1"),
        "开往海边的最后一班火车".encode("gb18030").decode("latin-1"),
        "Привет".encode("cp1251").decode("latin-1"),
        "占쏙옙",
        "锟斤拷",
        "もう一度言っていただけますか".encode().decode("cp932", "ignore"),
        "It’s".encode().decode("gb18030", "ignore"),
        windows(windows("café", "cp1252"), "cp1252"),
    ],
)
def test_other_wrong_readings_are_found(text: str) -> None:
    assert find_mojibake(text)


@given(st.text(max_size=200))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert isinstance(find_mojibake(text), str)


@pytest.mark.parametrize(
    "piece", ["{", "<", "{<", "<|", "\x1b]", "<|phoneme_start|>", "Ã©", "é…", "縺", "\n", "a"]
)
def test_no_transcript_takes_long(tmp_path: Path, piece: str) -> None:
    count = LARGEST_TRANSCRIPT // len(piece.encode())
    clip(tmp_path, "a", piece * count, seconds=0.1)
    began = time.process_time()
    findings(tmp_path)
    assert time.process_time() - began < 5  # quadratic ones take a minute


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_what_is_not_a_file_of_reasonable_size_is_refused_at_once(tmp_path: Path, golden: Path) -> None:
    data = tmp_path / "data"
    for name in ("pipe", "device", "huge", "folder", "gone"):
        clip(data, name, "").unlink()
    os.mkfifo(data / "S/pipe.lab")
    (data / "S/device.lab").symlink_to("/dev/zero")
    with (data / "S/huge.lab").open("wb") as file:
        file.truncate(10 << 30)
    (data / "S/gone.lab").symlink_to("nowhere")
    clip(data, "good", "Good morning.")
    found = {finding.path.stem: finding for finding in findings(data) if finding.severity is Severity.ERROR}
    assert {found[name].code for name in ("pipe", "device")} == {FindingKind.NOT_A_FILE}
    assert {found[name].code for name in ("huge", "gone")} == {FindingKind.TEXT_UNREADABLE}
    dropped = {loss.clip: loss.reason for loss in pack(data, tmp_path).dropped}
    assert dropped.keys() == {f"S/{name}" for name in ("pipe", "device", "huge", "folder", "gone")}
    assert inspect_clip(data, "S/pipe", ".lab", points=4).transcript == ""
    for name in ("pipe", "device", "huge"):
        reference = tmp_path / f"{name}.npy"
        shutil.copy(data / "S/good.npy", reference)
        (tmp_path / f"{name}.lab").symlink_to(data / f"S/{name}.lab")
        settings = SynthSettings(
            checkpoint=golden / "base", text="hi", out=tmp_path / "x.wav", ref_codes=reference, device="cpu"
        )
        with pytest.raises(DataError, match=r"not a file|larger than"):
            run_synth(settings, Reporter())


def test_a_fault_of_the_system_ends_packing_and_is_one_finding_of_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(tmp_path / "data", "a", "Good morning.")
    failing = clip(tmp_path / "data", "b", "Good night.")
    genuine = os.open

    def opening(path: Any, *args: Any, **options: Any) -> int:
        if Path(path) == failing:
            raise OSError(5, "Input/output error", str(path))
        return genuine(path, *args, **options)

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(StorageError, match="Input/output error"):
        pack(tmp_path / "data", tmp_path)
    assert [finding.code for finding in findings(tmp_path / "data")] == [FindingKind.TEXT_UNREADABLE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{noise} <b>", "--text has no words"),
        ("… !", "--text has no words"),
        ("so <|im_end|> it is", r"--text holds <\|im_end\|>, which steers the model"),
        ("so <|im_\u200bend|>", r"--text holds <\|im_end\|>"),
        ("<|phoneme_start|>T UW1", "--text holds phonemes without their beginning or end"),
        ("a" * 70_000, "--text is longer than 65,536 bytes"),
        ("caf\udce9", "--text is not UTF-8 text"),
    ],
)
def test_a_typed_text_is_held_to_the_same(tmp_path: Path, golden: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_typed(text, "--text")
    with pytest.raises(UsageError, match=message):
        run_audition(
            AuditionSettings.model_construct(checkpoint=tmp_path / "gone.ckpt", texts=[text]), Reporter()
        )
    settings = SynthSettings.model_construct(
        checkpoint=golden / "base",
        text=text,
        out=tmp_path / "x.wav",
        ref_audio=None,
        ref_codes=None,
        ref_text="",
    )
    with pytest.raises(UsageError, match=message):
        run_synth(settings, Reporter())


def test_a_references_transcript_is_read_as_it_was_trained_on(golden: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ref.npy", np.load(golden / "generate.npz")["ref_codes"])
    codes = []
    for text in ("hello world", "\ufeff{cough} hello\u200b  world\n"):
        (tmp_path / "ref.lab").write_text(text, encoding="utf-8")
        settings = SynthSettings(
            checkpoint=golden / "base",
            text="the quick brown fox",
            out=tmp_path / "x.wav",
            ref_codes=tmp_path / "ref.npy",
            codes_out=tmp_path / "x.npy",
            max_new_tokens=6,
            greedy=True,
            device="cpu",
        )
        run_synth(settings, Reporter())
        codes.append(np.load(tmp_path / "x.npy").tolist())
    assert codes[0] == codes[1]


@pytest.mark.parametrize(
    ("text", "seconds", "possible"),
    [
        ("This is a whole sentence of ten words cut by mistake.", 0.02, False),
        ("비가 그친 뒤에 우리는 강을 따라 걸었고", 0.5, False),
        ("雨停了以后，我们沿着河边慢慢地走", 0.5, False),
        ("海へ行く最後の電車は、九時を少し過ぎた頃に出ます。", 1.0, False),
        ("no", 30.0, False),
        ("네.", 10.0, False),
        # As fast and as slow as people are.
        ("The last train to the coast leaves a few minutes after nine.", 1.7, True),
        ("비가 그친 뒤에 우리는 강을 따라 걸었고", 1.3, True),
        ("海へ行く最後の電車は、九時を少し過ぎた頃に出ます。", 2.0, True),
        ("Yes.", 0.2, True),
        ("네.", 2.5, True),
        ("1984", 4.0, True),
    ],
)
def test_a_text_that_nobody_can_say_in_its_time_is_found_in_one_clip(
    tmp_path: Path, text: str, seconds: float, possible: bool
) -> None:
    clip(tmp_path, "a", text, seconds=seconds)
    codes = [finding.code for finding in findings(tmp_path)]
    assert codes == ([] if possible else [FindingKind.READING_SPEED])
