"""Trains novella, the small GPT-2 that ships with Laminar Lens, and writes it as a Hugging Face folder.

The folder stands alone: on a bare GPU image, beside a copy of it, `python -m train --data novella.tokens
--out DIR --device cuda --minutes 25` needs torch, numpy and safetensors and nothing else of this package; so
its modules import each other relatively. Heavy imports are inside the functions, so that a bad argument is
answered at once.
"""
