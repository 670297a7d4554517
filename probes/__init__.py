"""What is observed: BPF programs with their loader, and performance counters."""
