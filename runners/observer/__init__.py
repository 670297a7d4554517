"""The observer: a small assembly program that watches the guest's beats from the host."""
