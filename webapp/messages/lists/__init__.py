"""Lists: from a spreadsheet to many personal texts."""
