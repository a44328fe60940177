"""Lengths: what is decoded is what is there, whatever a header says of it."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio import recordings, streams
from fishtune.core.audio.recordings import read_audio, read_channels, read_info
from fishtune.core.errors import DataError, FishtuneError
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 44_100


def noise(seconds: float, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(1)
    return (generator.standard_normal((round(seconds * RATE), channels)) / 20).astype(np.float32)


def encoded(container: str, seconds: float = 1.5, subtype: str | None = None, **options: object) -> bytes:
    written = io.BytesIO()
    rate, channels = int(options.pop("rate", RATE)), int(options.pop("channels", 1))  # type: ignore[call-overload]
    samples = noise(seconds * rate / RATE, channels)
    soundfile.write(written, samples, rate, subtype, format=container, **options)  # type: ignore[arg-type]
    return written.getvalue()


def lengths(path: Path, content: bytes) -> tuple[int, int]:
    """Return the samples that the header is taken to state, and those that are decoded."""
    path.write_bytes(content)
    return read_info(path).frames, len(read_channels(path)[0])


# Wave


def wave(
    content: bytes, riff: int | None, data: int | None, *, before: bytes = b"", behind: bytes = b""
) -> bytes:
    """Return a plain wav with other sizes, and other chunks around its samples."""
    begin = content.index(b"data") + 8
    samples = content[begin:]
    header = content[12 : begin - 8] + before + b"data"
    size = len(samples) if data is None else data
    body = header + struct.pack("<I", size) + samples + behind
    return b"RIFF" + struct.pack("<I", len(body) + 4 if riff is None else riff) + b"WAVE" + body


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0, 0),
        (8, 0),
        (36, 0),
        (None, 0),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFFFFF, 0x7FFFF000),
        (0, 0x80000000),
        (None, 30_000),
        (0xFFFFFFFF, 30_000),
    ],
)
def test_a_wav_that_was_never_finished_is_read_to_its_end(
    tmp_path: Path, subtype: str, riff: int | None, data: int
) -> None:
    content = encoded("WAV", 1.5, subtype, rate=24_000)
    plain = (tmp_path / "plain.wav", wave(content, None, None))
    if subtype in ("FLOAT", "DOUBLE", "ULAW", "ALAW"):  # the chunks before are longer
        riff = riff + 12 if riff == 36 else riff
    made = wave(content, riff, data, before=b"JUNK" + struct.pack("<I", 28) + bytes(28))
    assert lengths(tmp_path / "a.wav", made) == lengths(*plain) == (36_000, 36_000)
    assert np.array_equal(read_channels(tmp_path / "a.wav")[0], read_channels(plain[0])[0])


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "IMA_ADPCM", "MS_ADPCM", "NMS_ADPCM_32"])
def test_compressed_wavs_are_read_finished_or_not(tmp_path: Path, subtype: str) -> None:
    content = encoded("WAV", 1.5, subtype, rate=8_000)
    info, decoded = lengths(tmp_path / "a.wav", content)
    assert info == decoded
    assert decoded == pytest.approx(12_000, abs=600)  # whole blocks
    begin = content.index(b"data") + 4
    unfinished = content[:begin] + bytes(4) + content[begin + 4 :]
    assert lengths(tmp_path / "b.wav", unfinished) == (info, decoded)


@pytest.mark.parametrize("container", ["RF64", "W64", "WAVEX"])
def test_other_waves_under_the_name_of_a_wav_are_read_to_their_end(tmp_path: Path, container: str) -> None:
    content = encoded(container, 1.5, "PCM_16")
    assert lengths(tmp_path / "a.wav", content) == (66_150, 66_150)
    if container == "RF64" and content[:4] == b"RF64":
        at = content.index(b"ds64") + 16
        unfinished = content[:at] + bytes(8) + content[at + 8 :]
    elif container == "W64":
        at = content.index(b"data") + 16
        unfinished = content[:at] + (24).to_bytes(8, "little") + content[at + 8 :]
    else:
        at = content.index(b"data") + 4
        unfinished = content[:at] + bytes(4) + content[at + 4 :]
    assert lengths(tmp_path / "b.wav", unfinished) == (66_150, 66_150)


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0",
        b"id3 " + struct.pack("<I", 20_000) + bytes(20_000),
        b"ID3\x03\0\0\0\0\x7f\x76" + b"x" * 16_374,
        b"TAG" + b"x" * 125,
        bytes(20_000),
    ],
)
def test_what_follows_the_samples_is_not_taken_for_samples(tmp_path: Path, behind: bytes) -> None:
    content = encoded("WAV", 1.5, "PCM_16")
    for riff in (None, len(content) - 8):
        assert lengths(tmp_path / "a.wav", wave(content, riff, None, behind=behind)) == (66_150, 66_150)


def test_an_empty_wav_with_a_comment_is_empty(tmp_path: Path) -> None:
    header = encoded("WAV", 0, "PCM_16")
    comment = b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + bytes(4)
    with pytest.raises(DataError, match="contains no audio"):
        lengths(tmp_path / "a.wav", wave(header, None, None, behind=comment))


def test_samples_behind_an_end_that_two_sizes_agree_on_are_not_dropped_in_silence(tmp_path: Path) -> None:
    content = encoded("WAV", 1.5, "PCM_16")
    with pytest.raises(DataError, match=r"a\.wav continues past the end .* 0\.5 s, with 1\.0 s more"):
        lengths(tmp_path / "a.wav", wave(content, 36 + 44_100, 44_100))


@pytest.mark.parametrize("subtype", ["PCM_16", "GSM610", "IMA_ADPCM"])
def test_a_stated_size_is_tolerated_like_a_decoded_one(tmp_path: Path, subtype: str) -> None:
    content = encoded("WAV", 3, subtype, rate=8_000)
    begin = content.index(b"data") + 8
    per_second = struct.unpack("<I", content[28:32])[0]
    info, decoded = lengths(tmp_path / "a.wav", content[: -round(0.05 * per_second)])
    assert 23_000 <= decoded <= info <= 24_600
    for left in (0, 1, begin):
        with pytest.raises(DataError, match=r"a\.wav is truncated: 0\.0 s of 3\.\d s are there"):
            lengths(tmp_path / "a.wav", content[: begin + left])


def told(path: Path) -> tuple[object, ...]:
    """Return all that is said of a recording without its samples."""
    try:
        info = read_info(path)
    except DataError as error:
        return error.message, error.hint
    return info, info.container, info.encoding


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "PCM_24", "PCM_32"])
def test_what_a_plain_wav_states_is_what_the_decoder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str
) -> None:
    plain = [
        encoded("WAV", 0.01, subtype, channels=channels, rate=rate)
        for channels, rate in ((1, 44_100), (2, 8_000), (8, 96_000), (1, 2_000))
    ]
    changed = [
        content[:place] + bytes([value]) + content[place + 1 :]
        for content in plain[:2]
        for place in range(44)
        for value in {0, 1, content[place] ^ 1, content[place] ^ 128, 255} - {content[place]}
    ]
    cut = [content[:-left] for content in plain for left in (1, 2, 3)]
    longer = [content + more for content in plain for more in (b"\0", b"LIST\4\0\0\0INFO")]
    found = []
    for decoder in (False, True):
        if decoder:
            monkeypatch.setattr(streams, "_plain_wave", lambda *_: None)
        for number, content in enumerate([*plain, *changed, *cut, *longer]):
            path = tmp_path / f"{number}.wav"
            path.write_bytes(content)
            found.append(told(path))
    half = len(found) // 2
    assert found[:half] == found[half:]


def test_a_plain_wav_is_measured_without_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV"))
    monkeypatch.setattr(recordings, "_Decoder", None)
    assert read_info(path).frames == 66_150


@pytest.mark.parametrize("container", ["AIFF", "AU"])
def test_other_containers_under_the_name_of_a_wav_are_not_cut_in_silence(
    tmp_path: Path, container: str
) -> None:
    content = encoded(container, 1.5, "PCM_16")
    assert lengths(tmp_path / "a.wav", content) == (66_150, 66_150)
    with pytest.raises(DataError, match=r"a\.wav is truncated: 0\.\d s of 1\.5 s are there"):
        lengths(tmp_path / "a.wav", content[: len(content) // 2])
    empty = encoded(container, 0, "PCM_16")
    with pytest.raises(DataError, match="was never finished: it states that it contains no audio, but holds"):
        lengths(tmp_path / "a.wav", empty + content[-100_000:])
    with pytest.raises(DataError, match="contains no audio"):
        lengths(tmp_path / "a.wav", empty)


def test_a_wav_behind_a_tag_keeps_its_last_samples(tmp_path: Path) -> None:
    tag = b"ID3\x03\0\0\0\0\x7f\x76" + bytes(16_374)
    assert lengths(tmp_path / "a.wav", tag + encoded("WAV", 1.5, "PCM_16")) == (66_150, 66_150)


# FLAC


def with_total(content: bytes, total: int) -> bytes:
    """Return a FLAC that states another number of samples."""
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | total
    return content[:18] + fields.to_bytes(8, "big") + content[26:]


@pytest.mark.parametrize("total", [0, 66_150, (1 << 36) - 1, 66_150 + (1 << 31), 1_000_000_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_flac_is_as_long_as_its_frames(tmp_path: Path, total: int, channels: int) -> None:
    content = encoded("FLAC", channels=channels)
    assert lengths(tmp_path / "a.flac", with_total(content, total)) == (66_150, 66_150)


def test_a_flac_that_states_too_little_is_decoded_to_its_end(tmp_path: Path) -> None:
    for total in (1, 20_000, 50_000, 65_535):
        for content in (encoded("FLAC"), encoded("FLAC", channels=2), encoded("FLAC", subtype="PCM_24")):
            assert lengths(tmp_path / "a.flac", with_total(content, total)) == (66_150, 66_150)


def test_a_flac_with_tags_around_it_is_read(tmp_path: Path) -> None:
    content = encoded("FLAC")
    picture = b"ID3\x03\0\0\0\0\x7f\x76" + bytes(16_374)
    for total in (0, 66_150):
        made = picture + with_total(content, total) + b"TAG" + bytes(125)
        assert lengths(tmp_path / "a.flac", made) == (66_150, 66_150)


# MP3


def mp3(**options: object) -> bytes:
    return encoded("MP3", 3.0, bitrate_mode="VARIABLE", compression_level=0.5, **options)


def first_frame(content: bytes) -> int:
    """Return the size of the first frame, which holds the tag."""
    return content.index(b"\xff" + content[1:2], 100)


def without_tag(content: bytes) -> bytes:
    return content[first_frame(content) :]


def with_numbers(content: bytes, frames: int | None = None, size: int | None = None) -> bytes:
    at = content.index(b"Xing") + 8
    made = bytearray(content)
    if frames is not None:
        made[at : at + 4] = frames.to_bytes(4, "big")
    if size is not None:
        made[at + 4 : at + 8] = size.to_bytes(4, "big")
    return bytes(made)


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050, 8_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
def test_an_mp3_without_a_tag_has_all_its_frames(tmp_path: Path, rate: int, channels: int, mode: str) -> None:
    content = encoded("MP3", 3.0, rate=rate, channels=channels, bitrate_mode=mode, compression_level=0.5)
    whole, _ = lengths(tmp_path / "whole.mp3", content)
    assert whole == 3 * rate
    info, decoded = lengths(tmp_path / "a.mp3", without_tag(content))
    assert info == decoded
    per_frame = 1_152 if rate > 24_000 else 576
    assert decoded % per_frame == 0
    # The encoder's delay and the filling of the last frame are not known without the tag.
    assert whole < decoded <= whole + 3 * per_frame


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125)])
@pytest.mark.parametrize("ape", [b"", b"x" * 30_000])
@pytest.mark.parametrize("picture", [0, 60_000, 300_000])
def test_tags_around_an_mp3_do_not_count(tmp_path: Path, picture: int, ape: bytes, tail: bytes) -> None:
    synchsafe = bytes(picture >> shift & 0x7F for shift in (21, 14, 7, 0))
    front = b"ID3\x03\0\0" + synchsafe + b"\xff\xfb\x90" * (picture // 3) if picture else b""
    if ape:
        footer = b"APETAGEX" + struct.pack("<IIII", 2_000, len(ape) + 32, 1, 0) + bytes(8)
        ape += footer
    content = mp3()
    assert lengths(tmp_path / "a.mp3", front + content + ape + tail) == (132_300, 132_300)
    bare = lengths(tmp_path / "a.mp3", front + without_tag(content) + ape + tail)
    assert bare == (116 * 1_152, 116 * 1_152)


@pytest.mark.parametrize("junk", [b"\0" * 100, b"\xff" * 37, b"text" * 500])
def test_an_mp3_behind_something_else_is_found(tmp_path: Path, junk: bytes) -> None:
    assert lengths(tmp_path / "a.mp3", junk + mp3()) == (132_300, 132_300)
    assert lengths(tmp_path / "a.mp3", junk + without_tag(mp3()))[1] == 116 * 1_152


def test_joined_mp3s_are_as_long_as_their_parts(tmp_path: Path) -> None:
    info, decoded = lengths(tmp_path / "a.mp3", mp3() + mp3() + mp3())
    assert info == decoded == pytest.approx(3 * 132_300, abs=9 * 1_152)


@pytest.mark.parametrize(
    ("frames", "size"),
    [(0, None), (1 << 24, None), (0xFFFFFFFF, None), (None, 100), (None, 0), (3, 0xFFFFFF00)],
)
def test_a_tag_that_cannot_be_right_is_not_believed(
    tmp_path: Path, frames: int | None, size: int | None
) -> None:
    info, decoded = lengths(tmp_path / "a.mp3", with_numbers(mp3(), frames, size))
    assert info == decoded == pytest.approx(132_300, abs=2 * 1_152)


def test_an_mp3_whose_tag_states_too_few_frames_is_decoded_to_its_end(tmp_path: Path) -> None:
    decoded = lengths(tmp_path / "a.mp3", with_numbers(mp3(), 60))[1]
    assert decoded == pytest.approx(132_300, abs=2 * 1_152)


def test_a_cut_mp3_with_a_sound_tag_is_truncated(tmp_path: Path) -> None:
    content = mp3()
    with pytest.raises(DataError, match=r"a\.mp3 is truncated: 1\.\d s of 3\.0 s are there"):
        lengths(tmp_path / "a.mp3", content[: len(content) // 2])


# Bounds


@pytest.mark.skipif(sys.platform != "linux", reason="measures what Linux counts")
def test_a_header_that_lies_takes_no_memory(tmp_path: Path) -> None:
    contents = {
        "a.flac": with_total(encoded("FLAC", channels=2), (1 << 36) - 1),
        "b.mp3": with_numbers(mp3(), 0xFFFFFFF0),
        "c.wav": wave(encoded("WAV", 1.5, "PCM_16"), 0xFFFFFFFF, 0xFFFFFFF0),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    program = (
        "import sys; from pathlib import Path\n"
        "from fishtune.core.audio.recordings import read_audio, read_info\n"
        "for path in sys.argv[1:]: read_audio(Path(path), 44100); read_info(Path(path))\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    shown = subprocess.run(
        [sys.executable, "-P", "-c", program, *(tmp_path / name for name in contents)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
    )
    assert int(shown.stdout) < 300 << 10  # KiB


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_recording_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    container = data.draw(st.sampled_from(["WAV", "FLAC", "MP3", "RF64", "W64"]))
    content = bytearray(encoded(container, 0.3))
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.sampled_from([80, len(content)]))
        at = data.draw(st.integers(0, min(end, len(content)) - 1))
        content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    suffix = {"FLAC": ".flac", "MP3": ".mp3"}.get(container, ".wav")
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(FishtuneError):
        assert read_info(path).frames > 0
        assert np.isfinite(read_audio(path, RATE)).all()
