"""The arguments of each `pausebench` command: one light module per command.

What a command does is in the module of the same name in bench/handlers, which may import anything.
"""
