"""The command line: arguments (`main`), what commands read (`inputs`) and write (`output`), and one
file a command.
"""
