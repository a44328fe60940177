"""From a transcript to token matrices: cleaning, tokenizer, prompts. Imports no torch."""
