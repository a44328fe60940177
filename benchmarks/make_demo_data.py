"""Makes the demo's recordings, core/demo/data, with espeak-ng. Run once; the result is checked in.

    .venv/bin/python benchmarks/make_demo_data.py

Two speakers, an English and a Korean one, in the three formats that are read, at unlike loudness.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import soundfile

DATA = Path(__file__).parent.parent / "core" / "demo" / "data"
LIMIT = 400_000  # bytes in all
SILENCE = 0.02  # of full scale; synthesised speech has long pauses at its ends

# Name with extension, text, words a minute, amplitude (espeak's default is 100).
CLIPS: dict[tuple[str, str, int], list[tuple[str, str, int, int]]] = {
    ("amy", "en-us+f3", 55): [
        ("boat.mp3", "The boat left the harbour before the sun was up.", 165, 100),
        ("bread.mp3", "Fresh bread smells best early in the morning.", 160, 70),
        ("garden.flac", "She planted beans along the garden wall.", 170, 100),
        ("letter.mp3", "He read the letter twice {rustle} and smiled.", 165, 120),
        ("rain.wav", "It rained all night.", 165, 90),
        ("station.mp3", "Where does the last train to the city stop?", 170, 60),
    ],
    ("yuna", "ko+f2", 60): [
        ("annyeong.mp3", "안녕하세요, 만나서 반갑습니다.", 170, 100),
        ("bada.flac", "우리는 여름마다 바다에 갑니다.", 175, 110),
        ("chaek.mp3", "어제 빌린 책을 오늘 다 읽었어요.", 175, 60),
        ("geuri.mp3", "그림을 그리면 마음이 편안해집니다.", 175, 90),
        ("nalssi.wav", "날씨가 참 좋네요.", 185, 120),
        ("norae.mp3", "노래를 부르며 산길을 걸었습니다.", 175, 80),
    ],
}


def main() -> None:
    """Write all recordings and transcripts; fail if they are too large."""
    shutil.rmtree(DATA, ignore_errors=True)
    for (speaker, voice, pitch), clips in CLIPS.items():
        (DATA / speaker).mkdir(parents=True)
        for name, text, speed, amplitude in clips:
            path = DATA / speaker / name
            _speak(path, text.replace("{rustle} ", ""), voice, pitch, speed, amplitude)
            path.with_suffix(".lab").write_text(text + "\n", encoding="utf-8")
            print(f"{path.relative_to(DATA)}: {soundfile.info(path).duration:.2f} s")
    size = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    print(f"{size} bytes")
    assert size < LIMIT, f"more than {LIMIT} bytes"


def _speak(path: Path, text: str, voice: str, pitch: int, speed: int, amplitude: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.wav"
        command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "-a", str(amplitude)]
        subprocess.run([*command, "-w", str(raw), text], check=True)
        samples, rate = soundfile.read(raw, dtype="float32")
    loud = [i for i, sample in enumerate(abs(samples)) if sample > SILENCE]
    margin = rate // 10
    samples = samples[max(0, loud[0] - margin) : loud[-1] + margin]
    if path.suffix == ".mp3":
        soundfile.write(path, samples, rate, compression_level=0.6, bitrate_mode="VARIABLE")
    else:
        soundfile.write(path, samples, rate, "PCM_16")


if __name__ == "__main__":
    main()
