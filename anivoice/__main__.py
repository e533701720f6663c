"""`python -m anivoice`"""

import sys

from anivoice.cli import main

if __name__ == "__main__":
    sys.exit(main())
