"""Keeps the processes of one local stack, and ends them all together.

`keep.py PIDS '[{"argv": […], "env": {…}, "log": "…"}, …]'` starts each program with its output to its log, writes its own process id and
theirs to PIDS, and then watches. Everything ends when

- one of the programs ends, for whatever reason,
- this process is told to (SIGTERM, SIGINT), or
- whoever started it is gone before it wrote `stay` to the standard input: Ctrl-C, a failed step or a killed CI job leaves nothing.

PIDS, the `outputs.json` beside it and the emulator's `scratch` folder go with them. It ends well when it was told to end, and with
an error when a program ended by itself.

Each program has a session of its own, so that the terminal's Ctrl-C does not reach it and its children (the functions' processes)
end with it.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time


def stop(number, frame):
    raise SystemExit(0)


def end(children):
    for name, grace in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0)):
        for child in children:
            try:
                # The session's leader may be gone while its children live: the signal goes to the whole group.
                os.killpg(child.pid, name)
            except ProcessLookupError:
                continue
        limit = time.monotonic() + grace
        while time.monotonic() < limit and any(child.poll() is None for child in children):
            time.sleep(0.05)


def forget(place):
    (place.parent / "outputs.json").unlink(missing_ok=True)
    shutil.rmtree(place.parent / "scratch", ignore_errors=True)
    # Last: as long as it is there, somebody may wait for us.
    place.unlink(missing_ok=True)


def main():
    place, programs = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    children = []
    try:
        for program in programs:
            with open(program["log"], "wb") as log:
                child = subprocess.Popen(
                    program["argv"],
                    env={**os.environ, **program["env"]},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            children.append(child)
        place.write_text("".join(f"{pid}\n" for pid in [os.getpid(), *(child.pid for child in children)]), "ascii")
        bound = True
        while all(child.poll() is None for child in children):
            if not bound:
                time.sleep(0.5)
            elif select.select([sys.stdin], [], [], 0.5)[0]:
                if sys.stdin.readline().strip() != "stay":
                    return
                bound = False
        sys.exit(1)
    finally:
        # A second Ctrl-C must not interrupt the end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end(children)
        forget(place)


main()
