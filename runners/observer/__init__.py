"""The observer: a small program of our own that watches guests beat, from the host."""
