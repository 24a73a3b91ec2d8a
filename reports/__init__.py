"""Results: typed rows, tables, figures, model cards and the page."""
