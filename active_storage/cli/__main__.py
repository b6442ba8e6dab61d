"""``python -m active_storage.cli`` is the command ``active-storage``."""

import sys

from active_storage.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
