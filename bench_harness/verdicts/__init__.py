"""Verdicts: from a result file's cells to summaries, comparisons, and what may be said of them."""
