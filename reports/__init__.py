"""Reports of stored sessions: text for a terminal, HTML pages, and file formats."""
