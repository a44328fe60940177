"""What the files of an S2 directory are called (formats-s2.md section 1)."""

from ..file_names import CONFIG as CONFIG
from ..file_names import WEIGHTS as WEIGHTS

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
"""Of the published model; the index of another may name others."""
SINGLE = "model.safetensors"
TOKENIZER = "tokenizer.json"
LARGEST_TOKENIZER = 64 << 20
"""Bytes; the published one has 12 MB."""
NOT_FOR_SPEECH = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "LICENSE.md",
    "README.md",
)
"""What other engines read, and what must be passed on with the weights."""
