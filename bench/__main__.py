"""`python -m bench` is `pausebench`."""

from .entry import entry

if __name__ == "__main__":
    entry()
