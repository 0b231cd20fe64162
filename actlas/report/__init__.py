"""Figures and tables of one or more stores as one self-contained HTML file."""

from actlas.report.page import write_report
from actlas.report.questions import QUESTIONS, Question

__all__ = ["QUESTIONS", "Question", "write_report"]
