"""What the files of an S1 directory are called (formats.md section 1)."""

CONFIG = "config.json"
WEIGHTS = "model.pth"
RANKS = "tokenizer.tiktoken"
SPECIAL_TOKENS = "special_tokens.json"
"""May be absent: then the default list counts."""
