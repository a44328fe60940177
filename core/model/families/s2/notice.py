"""What the Fish Audio Research License asks of who passes a fine-tuned model on (formats-s2.md section 1)."""

from __future__ import annotations

import re
from pathlib import Path

from ....errors import CheckpointError
from ....messages import Message
from ....reading import read_regular

NOTICE = "NOTICE"
LICENCE_TEXT = "LICENSE.md"
TERMS = Message(
    "The merged model is a derivative work under the Fish Audio Research License: any commercial use, inside "
    "a company too, needs a written licence. Whoever receives it must receive LICENSE.md and NOTICE with it, "
    "and see “Built with Fish Audio”."
)
_ATTRIBUTION = "Licensed under the Fish Audio Research License, Copyright © 39 AI, INC. All Rights Reserved."
_QUOTED = re.compile(r"[“\"]([^“”\"]{1,300}\blicensed under\b[^“”\"]{1,300})[”\"]", re.IGNORECASE)
_LARGEST = 1 << 20


def notice_text(base: Path, changes: str) -> str:
    """Return the notice of a model made of `base`: attribution, what was changed, then the base's own notice.

    The attribution is the line that the licence in the base's directory prescribes, where it is there.

    Raises:
        CheckpointError: the licence or the notice of the base is not a file of text.
    """
    licence, former = _read(base / LICENCE_TEXT), _read(base / NOTICE)
    prescribed = _QUOTED.search(licence)
    attribution = " ".join(prescribed[1].split()) if prescribed else _ATTRIBUTION
    own = f"{attribution}\n\nBuilt with Fish Audio.\n\nChanges: {base.resolve().name} was {changes}.\n"
    return f"{own}\n{former}" if former else own


def _read(file: Path) -> str:
    if not file.exists():
        return ""
    return read_regular(file, _LARGEST, CheckpointError).decode("utf-8", "replace")
