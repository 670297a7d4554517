"""The console script, which comes before anything that takes time to import."""

from __future__ import annotations

import os
import signal
import sys


def entry() -> None:
    """Run the command of `sys.argv`; exits with its status."""
    # Ctrl-C while modules are imported ends us without a traceback: nothing has begun yet.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .streams import forgiving_streams

    streams = forgiving_streams()
    # numpy's BLAS starts a thread per CPU as it is imported, and raises SIGINT in us if it cannot
    # (a low pids.max). None of our arrays is large enough to use one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .cli import main, prints_only

    try:
        status = main()
    except SystemExit as ended:  # argparse: --help, or a malformed command line
        status = ended.code if isinstance(ended.code, int) else 0
    sys.exit(streams.status(status, prints_only=prints_only(sys.argv[1:])))
