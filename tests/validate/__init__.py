"""Known-answer validation of the statistics: `python -m tests.validate` runs every topic and writes TABLE.md.

A topic is a module of this folder with `run(seeds: int) -> list[Row]`.
"""
