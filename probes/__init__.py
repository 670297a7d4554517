"""What is observed: BPF programs and their loader, performance counters, memory accounting."""
