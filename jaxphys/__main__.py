"""`python -m jaxphys` is the command line."""

import sys

from jaxphys.cli import main

sys.exit(main())
