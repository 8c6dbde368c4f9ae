"""Keeps the processes of one local stack, and ends them all together.

`keep.py PIDS '[{"argv": […], "env": {…}, "log": "…"}, …]'` starts each program with its output to its log, writes its own process id and
theirs to PIDS, and then watches. Everything ends when

- one of the programs ends, for whatever reason,
- this process is told to (SIGTERM, SIGINT), or
- whoever started it is gone before it wrote `stay` to the standard input: Ctrl-C, a failed step or a killed CI job leaves nothing.

SIGHUP starts the last program again. It is asked to end and gets time to keep its state; what it started ends at once.

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


# How long a program that is to start again may take to keep its state.
KEEP_STATE_SECONDS = 30.0


def stop(number, frame):
    raise SystemExit(0)


def start(program, mode):
    with open(program["log"], mode) as log:
        return subprocess.Popen(
            program["argv"],
            env={**os.environ, **program["env"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def note(place, children):
    place.write_text("".join(f"{pid}\n" for pid in [os.getpid(), *(child.pid for child in children)]), "ascii")


def again(child, program):
    child.terminate()
    try:
        child.wait(KEEP_STATE_SECONDS)
    finally:
        end([child])
    return start(program, "ab")


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
    children, asked = [], []
    signal.signal(signal.SIGHUP, lambda number, frame: asked.append(number))
    try:
        for program in programs:
            children.append(start(program, "wb"))
        note(place, children)
        bound = True
        while all(child.poll() is None for child in children):
            if asked:
                children[-1] = again(children[-1], programs[-1])
                note(place, children)
                asked.clear()
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
