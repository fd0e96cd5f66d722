"""`python -m etudes.web.demos.leash run NAME ...`: the command of `etudes`, which ends with the process that began it.

Its standard input is a pipe that the other process holds open and never writes to; a process that is gone, however it
ended, holds no pipe. A run that ends so goes on from its last checkpoint when it is asked for again.
"""

import os
import runpy
import signal
import threading


def end_with_parent() -> None:
    os.read(0, 1)  # not sys.stdin, whose lock a thread may not hold when Python ends
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    runpy.run_module("etudes", run_name="__main__", alter_sys=True)
