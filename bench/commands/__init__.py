"""What each command of `pausebench` takes: one module per command, its arguments and nothing else.

What it does is the module of the same name in bench/handlers, which may import what it likes.
"""
