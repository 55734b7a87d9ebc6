"""The language of pages: sentences for codes, and the shapes of dates, numbers and money."""
