"""``python -m interface`` is the command line."""

from interface.cli import main

main()
