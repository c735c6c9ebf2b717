"""Opens hostile files of `hostile_files`, each in a process of its own: python tests/bounds_process.py FOLDER NAME…

Prints a line of JSON for each: what became of it, in how many seconds, and how many megabytes more than before it took.
"""

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import hostile_files

MOST = 4 * 2**30  # bytes of addresses beyond those of the parent


def status(name):
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measured(name, folder):
    used = int(status("VmSize") * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST, used + MOST))
    before, start, began = status("VmRSS"), time.monotonic(), time.process_time()
    try:
        hostile_files.read(name, folder)
        what, said = "read", ""
    except hostile_files.InputError as error:
        what, said = "refused", str(error)
    except BaseException as error:
        what, said = type(error).__name__, str(error)
    return {
        "name": name,
        "what": what,
        "said": said,
        "seconds": round(time.monotonic() - start, 2),
        "processor": round(time.process_time() - began, 2),
        "megabytes": round(status("VmHWM") - before),
    }


def run(folder, names):
    """What became of each file, by its name, and what else was said; all are opened by a process of their own."""
    command = [sys.executable, "-W", "ignore", __file__, str(folder), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}, done.stderr


def wrong(line):
    """What a file took too much of, or "" if it was read or refused as it should be."""
    if line["what"] != ("read" if line["name"] in hostile_files.HARMLESS else "refused"):
        return f"{line['name']}: {line['what']} {line['said']}"
    if line["processor"] > 10 or line["megabytes"] > 500:
        return f"{line['name']}: {line['processor']} s, {line['megabytes']} MB"
    return f"{line['name']}: says {line['said']}" if "\n" in line["said"] or len(line["said"]) > 1500 else ""


def main():
    folder, *names = sys.argv[1:]
    hostile_files.prepare()
    for name in names:
        place = Path(folder) / re.sub(r"\W+", "_", name)
        place.mkdir()
        child = os.fork()
        if not child:
            hostile_files.write(name, place)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            print(json.dumps(measured(name, place)), flush=True)
            os._exit(0)
        _, code = os.waitpid(child, 0)
        if code:
            print(json.dumps({"name": name, "what": f"ended with {code}", "said": ""}), flush=True)
        hostile_files.remove(place)


if __name__ == "__main__":
    main()
