"""Reports: an evaluation as a self-contained HTML file and as Markdown, and the card of a data set."""

from eval.report.evaluation import read
from eval.report.page import write

__all__ = ["read", "write"]
