"""The console script, which comes before anything that takes time to import."""

from __future__ import annotations

import signal
import sys


def entry() -> None:
    """Run the command of `sys.argv`; exits with its status."""
    # Ctrl-C while modules are imported ends us without a traceback: nothing has begun yet.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli import main

    sys.exit(main())
