"""`python -m normlab.cli` is `normlab`."""

from normlab.cli import main

main()
