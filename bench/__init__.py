"""What is asked: scenarios, the experiment loop, benchmarks and the command line."""
