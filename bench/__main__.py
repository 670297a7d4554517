"""`python -m bench` is `pausebench`."""

from bench.cli import entry

if __name__ == "__main__":
    entry()
