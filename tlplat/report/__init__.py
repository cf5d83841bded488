"""The report of a run: report.json, report.html, the table for a terminal, and the model card."""

from tlplat.report.card import model_card
from tlplat.report.document import Report
from tlplat.report.files import load_report, write_report
from tlplat.report.table import print_table

__all__ = ["Report", "load_report", "model_card", "print_table", "write_report"]
