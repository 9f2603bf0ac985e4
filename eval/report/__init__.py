"""The report of an evaluation: one self-contained HTML file and its Markdown twin."""

from eval.report.folder import read
from eval.report.page import write

__all__ = ["read", "write"]
