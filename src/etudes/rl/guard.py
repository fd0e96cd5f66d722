"""The process between a game of Doom and its player: it ends the game when the player ends, however that comes.

ViZDoom starts this file in place of its engine, which hears from its player alone that a game is over, and after a
SIGKILL would wait for ever. It needs nothing but the standard library, and runs by itself as

    python -IS guard.py PLAYER FOLDER ENGINE ARGUMENT ...

PLAYER: the process that plays, whose child this is; FOLDER: where the engine runs, so that what it writes beside itself
is there. They need POSIX: on Windows a killed player leaves its games.
"""

import glob
import os
import select
import shutil
import signal
import subprocess
import sys

EVERY = 0.5  # seconds between two looks at the player


def guard(player: int, folder: str, command: list[str]) -> int:
    """The exit status of the command, which is killed when the player dies; then nothing of the game is left."""
    os.setsid()  # what is sent to the player's group, SIGKILL or Ctrl-C, shall not end the guard
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended, held = os.pipe()
    engine = subprocess.Popen(command, cwd=folder, pass_fds=[held])
    os.close(held)
    while not select.select([ended], [], [], EVERY)[0]:  # the engine's end closes the pipe
        if os.getppid() != player:
            engine.kill()
            engine.wait()
            clean(folder, command)
    return engine.wait()


def clean(folder: str, command: list[str]) -> None:
    """Remove the folder and, where Linux shows it, the memory that the killed engine shared with its player."""
    shutil.rmtree(folder, ignore_errors=True)
    game = command[command.index("+viz_instance_id") + 1]
    for path in glob.glob(f"/dev/shm/ViZDoom*{game}"):
        os.remove(path)


if __name__ == "__main__":
    status = guard(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
    sys.exit(status if status >= 0 else 128 - status)
