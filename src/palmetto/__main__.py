"""`python -m palmetto`: the command line."""

from palmetto.cli import main

main()
