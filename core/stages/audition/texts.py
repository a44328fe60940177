"""What a checkpoint speaks: the same sentences each time, in the script of its data set."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

# Ordinary sentences unlike most data sets', of about 2, 4 and 7 seconds, by the first word of the
# letters' Unicode names.
_TEXTS = {
    "LATIN": (
        "Could you say that once more?",
        "The last train to the coast leaves a few minutes after nine.",
        "When the rain had stopped, we walked along the river, and nobody said a word until the "
        "bridge came into sight.",
    ),
    "HANGUL": (
        "다시 한 번 말씀해 주시겠어요?",
        "바다로 가는 마지막 기차는 아홉 시가 조금 지나서 떠납니다.",
        "비가 그친 뒤에 우리는 강을 따라 걸었고, 다리가 보일 때까지 아무도 말을 하지 않았습니다.",
    ),
    "CJK": (
        "你可以再说一遍吗？",
        "开往海边的最后一班火车九点过几分发车。",
        "雨停了以后，我们沿着河边慢慢地走，一直走到看见那座桥，谁也没有说话。",
    ),
    "HIRAGANA": (
        "もう一度言っていただけますか。",
        "海へ行く最後の電車は、九時を少し過ぎた頃に出ます。",
        "雨がやんでから、私たちは川に沿って歩きましたが、橋が見えるまで誰も何も言いませんでした。",
    ),
    "CYRILLIC": (
        "Повторите, пожалуйста, ещё раз.",
        "Последний поезд к морю уходит в начале десятого.",
        "Когда дождь кончился, мы пошли вдоль реки, и никто не сказал ни слова, пока не показался мост.",
    ),
}
_SAME_SCRIPT = {"KATAKANA": "HIRAGANA"}


def texts_like(transcripts: Iterable[str]) -> tuple[str, ...]:
    """Return the sentences in the script that most letters of `transcripts` have; English if unknown.

    Other languages of a script are read with its accent: people then name texts of their own.
    """
    counted = Counter(_script(letter) for transcript in transcripts for letter in transcript)
    counted.pop("", None)
    # Japanese mixes kana with Chinese characters; some kana decide.
    if counted["HIRAGANA"] > 0.2 * counted.total():
        return _TEXTS["HIRAGANA"]
    most = counted.most_common(1)[0][0] if counted else "LATIN"
    return _TEXTS.get(most, _TEXTS["LATIN"])


def _script(letter: str) -> str:
    if not letter.isalpha():
        return ""
    script = unicodedata.name(letter, "").partition(" ")[0]
    return _SAME_SCRIPT.get(script, script)
