"""novella: the small language model that ships with the package. See README.md here, its model card."""

from pathlib import Path

PATH = Path(__file__).parent / "novella"
"""The Hugging Face folder of novella: config, weights, tokenizer and model card."""
