"""The command line: arguments (`main`), tables (`table`), models (`model`), one file a command."""
