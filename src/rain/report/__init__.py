"""The report: results told to people, in the terminal and as a page. Never imports torch."""
