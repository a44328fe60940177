"""Shards and their index: the wire format, random access, damage, memory."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.errors import ShardError, StorageError
from fishtune.core.shards import index_file as index_file_module
from fishtune.core.shards.index import INDEX_FILE, ShardIndex
from fishtune.core.shards.manifest import (
    MANIFEST_FILE,
    Histogram,
    Manifest,
    PackResult,
    read_manifest,
    write_manifest,
)
from fishtune.core.shards.text_data_pb2 import Semantics, TextData
from fishtune.core.shards.text_data_pb2 import Sentence as SentenceMessage
from fishtune.core.shards.wire import (
    Sentence,
    ShardWriter,
    encode_sentence,
    shard_digest,
    shard_paths,
    walk_shard,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def sentence(text: str = "hello", codebooks: int = 10, frames: int = 5, seed: int = 0) -> Sentence:
    codes = np.random.default_rng(seed).integers(0, 1024, (codebooks, frames))
    return Sentence((text,), codes)


def write(folder: Path, *sentences: tuple[str, Sentence], **sizes: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, **sizes) as writer:
        for speaker, content in sentences:
            writer.add(speaker, encode_sentence(content))
    return folder


def messages(path: Path) -> list[TextData]:
    content, position, found = path.read_bytes(), 0, []
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "little")
        found.append(TextData.FromString(content[position + 4 : position + 4 + length]))
        position += 4 + length
    return found


@pytest.fixture
def protos(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden / "protos", tmp_path / "protos")
    return tmp_path / "protos"


def test_the_golden_shard_is_read_sentence_by_sentence(protos: Path, golden: Path) -> None:
    index = ShardIndex.open(protos)
    assert len(index) == 3
    assert [index.speakers[i] for i in index.speaker_ids] == ["SPK1", "SPK1", "SPK2"]
    assert index.frames.tolist() == [11, 5, 5]
    assert index.text_bytes.tolist() == [11, 15, len("안녕하세요, 안녕히 가세요.".encode())]
    assert index.num_codebooks == 10
    names = ["SPK1/21.15-26.44", "SPK1/27.51-29.98", "SPK2/38.79-40.85"]
    codes = [np.load(golden / "data" / f"{name}.npy") for name in names]
    for i, expected in enumerate(codes):
        assert (index.read(i).codes == expected).all()
    assert [index.read(i).texts[0] for i in range(3)] == [
        "hello world",
        "it's a fine day",
        "안녕하세요, 안녕히 가세요.",
    ]
    assert index.largest_codes == np.concatenate(codes, axis=1).max(axis=1).tolist()
    assert index.name(2) == "SPK2 #2"  # the reference's shards carry no names


def test_sentences_written_again_equal_the_golden_shard(protos: Path, tmp_path: Path) -> None:
    index = ShardIndex.open(protos)
    pairs = [(index.speakers[index.speaker_ids[i]], index.read(i)) for i in range(3)]
    written = write(tmp_path / "again", *pairs)
    assert (written / "00000000.protos").read_bytes() == (protos / "00000000.protos").read_bytes()


@given(
    texts=st.lists(st.text(max_size=200), min_size=1, max_size=3),
    shape=st.tuples(st.integers(1, 12), st.integers(0, 300)),
    highest=st.sampled_from([1, 127, 128, 4095, 16_383, 16_384, 65_535]),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=60)
def test_a_sentence_has_the_bytes_that_protobuf_gives_it(
    texts: list[str], shape: tuple[int, int], highest: int, seed: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, highest + 1, shape)
    if codes.size:
        codes[0, -1] = highest
    assert encode_sentence(Sentence(tuple(texts), codes)) == serialised(texts, codes.tolist())


def test_code_0_is_kept_beside_codes_whose_bytes_are_like_it() -> None:
    rows = list(itertools.product([0, 1, 127, 128, 255, 16_383], repeat=4))
    assert encode_sentence(Sentence(("a",), np.array(rows))) == serialised(["a"], rows)


def serialised(texts: list[str], rows: Iterable[Sequence[int]]) -> bytes:
    """Return what protobuf itself makes of a sentence."""
    semantics = [Semantics(values=row) for row in rows]
    return SentenceMessage(texts=texts, semantics=semantics).SerializeToString(deterministic=True)


def test_a_new_shard_begins_once_the_current_one_exceeds_the_size(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", *((f"S{i}", sentence(frames=100)) for i in range(5)), shard_size=2000)
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.protos"))]
    assert [path.name for path in sorted(folder.glob("*.protos"))] == [
        "00000000.protos",
        "00000001.protos",
        "00000002.protos",
    ]
    assert all(size > 2000 for size in sizes[:-1])
    assert [len(messages(path)) for path in sorted(folder.glob("*.protos"))] == [2, 2, 1]


def test_a_large_speaker_is_split_over_messages_of_one_name(tmp_path: Path) -> None:
    many = [("유나", sentence(f"text {i}", frames=50, seed=i)) for i in range(9)]
    folder = write(tmp_path / "p", *many, ("Bob", sentence()), message_size=3000)
    found = messages(folder / "00000000.protos")
    assert [message.name for message in found] == ["유나", "유나", "유나", "Bob"]
    assert {message.source for message in found} == {"folder"}
    index = ShardIndex.open(folder)
    assert index.speakers == ["유나", "Bob"]
    assert [index.read(i).texts[0] for i in range(9)] == [f"text {i}" for i in range(9)]


def test_the_index_is_built_once_and_again_when_a_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "p", ("S", sentence("one")))
    built: list[int] = []
    ShardIndex.open(folder, built.append)
    ShardIndex.open(folder, built.append)
    assert built == [(folder / "00000000.protos").stat().st_size]
    old = ShardIndex.open(folder)
    write(folder, ("S", sentence("two!")))
    with pytest.raises(ShardError, match=r"00000000.protos was changed while it was in use"):
        old.read(0)
    assert ShardIndex.open(folder).read(0).texts == ("two!",)


def test_a_damaged_index_is_built_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", ("S", sentence("one")))
    ShardIndex.open(folder)
    intact = (folder / INDEX_FILE).read_bytes()
    for damaged in (b"", intact[:30], intact[:-10], b"x" * len(intact), intact[:17] + b"\xff" * 100):
        (folder / INDEX_FILE).write_bytes(damaged)
        assert ShardIndex.open(folder).read(0).texts == ("one",)
    assert (folder / INDEX_FILE).read_bytes() == intact


def test_where_the_folder_cannot_be_written_the_index_lies_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "p", ("S", sentence("one")))
    genuine = index_file_module.atomic_open

    def refusing(target: Path) -> object:
        if target.parent == folder:
            raise StorageError("read-only")
        return genuine(target)

    monkeypatch.setattr(index_file_module, "atomic_open", refusing)
    assert ShardIndex.open(folder).read(0).texts == ("one",)
    assert not (folder / INDEX_FILE).exists()
    built: list[int] = []
    ShardIndex.open(folder, built.append)
    assert built == []


def test_hashes_do_not_depend_on_what_else_is_packed(tmp_path: Path) -> None:
    first, other = ("S", sentence("one")), ("S", sentence("two", seed=1))
    alone = ShardIndex.open(write(tmp_path / "a", first)).content_hashes
    behind = ShardIndex.open(write(tmp_path / "b", ("A", sentence("zero")), other, first)).content_hashes
    assert alone[0] == behind[2]
    assert len(set(behind.tolist())) == 3
    same_words_other_speaker = ShardIndex.open(write(tmp_path / "c", ("T", sentence("one")))).content_hashes
    assert same_words_other_speaker[0] != alone[0]


def manifest_of(folder: Path, *clips: str) -> Manifest:
    """Write what `fishtune pack` says about shards that it wrote, and return it."""
    result = PackResult(
        output=folder,
        clips=len(clips),
        sentences=len(clips),
        dropped=[],
        speakers=[],
        shards=1,
        bytes=1,
        codebooks=10,
        frames=1,
        columns=Histogram(edges=[0, 1], counts=[1]),
    )
    manifest = Manifest(
        shards={path.name: path.stat().st_size for path in shard_paths(folder)},
        digests={path.name: shard_digest(path) for path in shard_paths(folder)},
        clips=list(clips),
        source="",
        result=result,
    )
    write_manifest(folder, manifest)
    return manifest


def test_names_come_from_the_manifest_of_exactly_these_shards(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", ("유나", sentence("one")), ("유나", sentence("two")))
    manifest_of(folder, "유나/a b", "유나/c")
    index = ShardIndex.open(folder)
    assert [index.name(0), index.name(1)] == ["유나/a b", "유나/c"]
    (folder / INDEX_FILE).unlink()
    shutil.copy(folder / "00000000.protos", folder / "elsewhere.protos")
    assert ShardIndex.open(folder).name(1) == "유나 #1"


@pytest.mark.parametrize("damage", ["a bit", "cut", "gone"])
def test_a_shard_that_is_not_what_was_packed_is_an_error(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    with ShardWriter(folder, shard_size=1) as writer:
        for speaker in "AB":
            writer.add(speaker, encode_sentence(sentence(speaker)))
    assert writer.digests == {path.name: shard_digest(path) for path in shard_paths(folder)}
    manifest_of(folder, "A/a", "B/b")
    ShardIndex.open(folder)
    second = folder / "00000001.protos"
    content = bytearray(second.read_bytes())
    content[-3] ^= 1
    {
        "a bit": lambda: second.write_bytes(content),
        "cut": lambda: second.write_bytes((folder / "00000000.protos").read_bytes() * 2),
        "gone": second.unlink,
    }[damage]()
    message = r"00000001\.protos is missing" if damage == "gone" else r"00000001\.protos is damaged"
    with pytest.raises(ShardError, match=message) as caught:
        ShardIndex.open(folder)
    assert "Pack the data set again" in caught.value.hint


def test_a_sentence_that_is_not_what_was_indexed_is_never_handed_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", *((f"S{i}", sentence(f"text {i}")) for i in range(30)))
    index = ShardIndex.open(folder)
    shard = folder / "00000000.protos"
    state, content = shard.stat(), bytearray(shard.read_bytes())
    content[content.index(b"text 15") + 6] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert index.read(14).texts == ("text 14",)
    with pytest.raises(ShardError, match=r"00000000\.protos was changed while it was in use, or is damaged"):
        index.read(15)


@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.integers(0, 40),
)
@settings(max_examples=200, deadline=None)
def test_a_changed_index_is_as_good_as_none(flips: list[tuple[int, int]], cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name) / "p", ("S", sentence("one")), ("T", sentence("two")))
        manifest_of(folder, "S/a", "T/b")
        good = ShardIndex.open(folder)
        expected = [good.name(1), *good.speakers, *good.largest_codes, *good.content_hashes.tolist()]
        content = bytearray((folder / INDEX_FILE).read_bytes())
        for position, value in flips:
            content[position % len(content)] = value
        (folder / INDEX_FILE).write_bytes(content[: len(content) - cut])
        again = ShardIndex.open(folder)
        assert [
            again.name(1),
            *again.speakers,
            *again.largest_codes,
            *again.content_hashes.tolist(),
        ] == expected
        assert again.read(1).texts == ("two",)


def test_the_index_of_the_same_shards_has_the_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    contents = []
    for number, moment in enumerate((1, 10**9)):
        folder = write(tmp_path / str(number), ("S", sentence("one")))
        os.utime(folder / "00000000.protos", (moment, moment))
        ShardIndex.open(folder)
        contents.append((folder / INDEX_FILE).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("content", [b"[" * 10_000, b"{}", b"", b"\xff", b'{"shards": 1, "clips": 2}'])
def test_a_damaged_manifest_gives_no_names_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "p", ("S", sentence("one")))
    (folder / MANIFEST_FILE).write_bytes(content)
    assert read_manifest(folder) is None
    assert ShardIndex.open(folder).name(0) == "S #0"


def test_a_changed_manifest_is_not_believed(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", ("S", sentence("one")))
    manifest_of(folder, "S/a")
    text = (folder / MANIFEST_FILE).read_text()
    (folder / MANIFEST_FILE).write_text(text.replace("S/a", "S/b"))
    assert read_manifest(folder) is None


def test_a_worker_does_not_read_other_shards_than_its_parent(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", ("S", sentence("one")))
    sent = pickle.dumps(ShardIndex.open(folder))
    write(folder, ("S", sentence("two!")))
    with pytest.raises(ShardError, match="were changed while they were in use"):
        pickle.loads(sent)


def test_an_index_is_sent_to_a_worker_as_its_folder_only(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", *(("S", sentence(str(i))) for i in range(500)))
    index = ShardIndex.open(folder)
    sent = pickle.dumps(index)
    assert len(sent) < 1000
    assert pickle.loads(sent).read(499).texts == ("499",)


def test_the_name_may_follow_the_sentences(tmp_path: Path) -> None:
    message = TextData(sentences=[]).SerializeToString()
    body = b"\x22" + bytes([len(encode_sentence(sentence(frames=1)))]) + encode_sentence(sentence(frames=1))
    message = body + TextData(name="late").SerializeToString()
    path = tmp_path / "0.protos"
    path.write_bytes(len(message).to_bytes(4, "little") + message)
    assert [location.speaker for location in walk_shard(path)] == ["late"]


def _prefixed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def _one(content: Sentence) -> bytes:
    data = encode_sentence(content)
    return _prefixed(b"\x12\x01S\x22" + bytes([len(data)]) + data)


UNEVEN = SentenceMessage(texts=["a"], semantics=[Semantics(values=[1]), Semantics(values=[1, 2])])
GOOD = _one(sentence(frames=1))
DAMAGED_SHARDS = {
    "empty": (b"", "00000000.protos is empty"),
    "cut in a message": (GOOD + GOOD[:-3], f"is cut off: the message at byte {len(GOOD)}"),
    "cut in a length": (GOOD + b"\x05\x00", f"is cut off: the message at byte {len(GOOD)}"),
    "text": (b"hello, I am no shard at all", "is cut off: the message at byte 0"),
    "wrong field type": (_prefixed(b"\x08\x01"), "is damaged at byte 4: unexpected field 1"),
    "field too long": (_prefixed(b"\x22\x7fabc"), "is damaged at byte 4: field 4 ends after its message"),
    "endless number": (_prefixed(b"\x22" + b"\xff" * 12), "is damaged at byte 4: a number does not end"),
    "damaged sentence": (_prefixed(b"\x22\x03\x0a\x7fa"), "byte 6: the sentence is damaged"),
    "name no UTF-8": (_prefixed(b"\x12\x01\xff"), "is damaged at byte 4"),
    "no text": (_one(Sentence((), np.ones((10, 1), int))), "has 0 texts"),
    "no codes": (_one(Sentence(("a",), np.ones((0, 0), int))), "codebooks of \\[\\] frames"),
    "uneven codebooks": (
        _prefixed(TextData(sentences=[UNEVEN]).SerializeToString()),
        r"byte 6: the sentence has 1 text and codebooks of \[1, 2\] frames",
    ),
    "no sentences": (_prefixed(b"\x12\x01S"), "has shards but no sentences"),
    "other codebooks": (
        GOOD + _one(sentence(codebooks=8, frames=1)),
        "has 8 codebooks, the ones before it 10",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED_SHARDS)
def test_a_damaged_shard_names_file_and_place(tmp_path: Path, kind: str) -> None:
    content, message = DAMAGED_SHARDS[kind]
    (tmp_path / "00000000.protos").write_bytes(content)
    with pytest.raises(ShardError, match=message) as caught:
        ShardIndex.open(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / INDEX_FILE).exists()


def test_a_folder_without_shards_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"has no packed data \(\*.protos\)") as caught:
        ShardIndex.open(tmp_path / "nowhere")
    assert "fishtune pack" in caught.value.hint


def test_the_generated_module_can_live_beside_the_reference_one() -> None:
    descriptor = TextData.DESCRIPTOR
    assert descriptor.full_name == "fishtune.text_data.TextData"
    assert descriptor.file.name == "fishtune/core/shards/text_data.proto"


MEMORY_PROBE = """
import sys, numpy as np, psutil
from pathlib import Path
from fishtune.core.shards.index import ShardIndex
process = psutil.Process()
small = ShardIndex.open(Path(sys.argv[1])); small.read(0)
before = process.memory_info().rss
index = ShardIndex.open(Path(sys.argv[2]))
index.read(len(index) // 2)
# What a sampler touches: every length, speaker and hash; then a thousand clips from everywhere.
total = int(index.frames.sum()) + int(index.text_bytes.sum()) + len(np.unique(index.content_hashes))
for i in np.random.default_rng(0).integers(0, len(index), 1000):
    index.read(int(i))
    index.name(int(i))
after = process.memory_info().rss
print(len(index), (after - before) / 2**20)
"""


@pytest.mark.slow
def test_two_hundred_thousand_sentences_cost_a_reader_less_than_50_mib(tmp_path: Path) -> None:
    small = write(tmp_path / "small", ("S", sentence("one")))
    ShardIndex.open(small)
    large = tmp_path / "large"
    large.mkdir()
    # Few frames keep the test fast; the records are as many as they are at any length.
    encoded = [encode_sentence(sentence(f"sentence {i}", frames=3, seed=i)) for i in range(100)]
    with ShardWriter(large, shard_size=2_000_000) as writer:
        for i in range(200_000):
            writer.add(f"speaker {i // 1000}", encoded[i % 100])
    manifest_of(large, *(f"speaker {i // 1000}/clip {i:06d}" for i in range(200_000)))
    ShardIndex.open(large)
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE, str(small), str(large)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    count, mebibytes = int(result[0]), float(result[1])
    assert count == 200_000
    assert mebibytes < 50
