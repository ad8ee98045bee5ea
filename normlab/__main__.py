"""`python -m normlab` is `normlab`."""

from normlab.cli import main

main()
