"""What the files of an S1 directory are called (formats.md section 1)."""

from ..file_names import CONFIG as CONFIG
from ..file_names import WEIGHTS as WEIGHTS

RANKS = "tokenizer.tiktoken"
SPECIAL_TOKENS = "special_tokens.json"
"""May be absent: then the default list counts."""
