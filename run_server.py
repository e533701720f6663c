"""Start the server: `python run_server.py [options]`, the same as `anivoice serve [options]`."""

import sys

from anivoice.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
