"""The front door: ``python run_recbole.py --help``."""

import sys

from recbole_fmrlrec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
