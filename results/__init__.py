"""What is remembered: frozen records, the timeline, the store and the statistics."""
