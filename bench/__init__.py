"""What is measured: scenarios, the experiment loop, benchmarks and the command line."""
