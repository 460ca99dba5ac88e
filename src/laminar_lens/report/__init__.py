"""A result as one HTML page that needs no network: `render(result)` gives its text."""

from laminar_lens.report.page import figure_page, render

__all__ = ["figure_page", "render"]
