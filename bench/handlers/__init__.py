"""What each command of `pausebench` does: one module per command, loaded when it is called."""
