"""`python -m bench` is `pausebench`."""

from .cli import entry

if __name__ == "__main__":
    entry()
