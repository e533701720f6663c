"""`python -m anivoice`"""

import sys

from anivoice.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
