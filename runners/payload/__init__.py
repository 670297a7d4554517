"""The guest program: its source, its memory layout and the host's view of it."""
