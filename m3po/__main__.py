"""`python -m m3po ...`: the command line."""

from m3po.cli import main

main()
