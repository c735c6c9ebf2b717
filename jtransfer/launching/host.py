"""The scripts that a host runs: unpack what was sent, install it, begin detached, follow the log, stop."""

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from jtransfer.launching.shipping import PROJECT, Shipment

HOME = "$HOME/jtransfer"  # of all that is ours on a host
ARCHIVE = "jtransfer.tar.gz"  # in the user's home there
PYTHON = "3.11"  # of the environment that is made

_INSTALL = """\
set -e
mkdir -p "{home}"
cd "{home}"
if [ -f pid ] && kill -0 "$(cat pid)" 2>/dev/null; then
  echo "a run is going on on this host; follow it by 'logs', or end it by 'stop'" >&2
  exit 3
fi
rm -rf code exit_code
mkdir code
tar -xzf "$HOME/{archive}" -C code
cd code/{folder}
python3 -m pip install --quiet --user uv
python3 -m uv venv --quiet --python {python} --allow-existing "{home}/env"
python3 -m uv pip install --quiet --python "{home}/env/bin/python" {install}
export TFDS_DATA_DIR="${{TFDS_DATA_DIR:-$HOME/tensorflow_datasets}}"
"""
_BEGIN = """\
cat > "{home}/command.sh" << 'END_OF_COMMAND'
trap : TERM
"{home}/env/bin/python" {words}
echo $? > "{home}/exit_code"
END_OF_COMMAND
setsid sh "{home}/command.sh" > "{home}/log.txt" 2>&1 < /dev/null &
echo $! > "{home}/pid"
"""
_FOLLOW = """\
cd "{home}"
tail -n +1 -F --pid="$(cat pid)" log.txt 2>/dev/null | sed -u "s/^/[$(hostname)] /"
exit "$(cat exit_code 2>/dev/null || echo 1)"
"""
_STOP = """\
cd "{home}"
kill -TERM -- -"$(cat pid)" 2>/dev/null || echo "no run is going on on $(hostname)"
"""


def start(shipment: Shipment, extra: str, words: Sequence[str]) -> str:
    """Returns a script that installs what was sent, begins a command in the background, and follows its log.

    Its exit code is the command's. What goes on does so if the connection breaks; `follow` finds it again.

    Args:
      shipment: What was sent as `ARCHIVE`.
      extra: The extra that is installed, as "tpu".
      words: The words after `python`.
    """
    return install(shipment, extra) + _BEGIN.format(words=shlex.join(words), home=HOME) + follow()


def install(shipment: Shipment, extra: str) -> str:
    """Returns the part of `start` that unpacks and installs."""
    *options, path = shipment.install.split(" ")
    place = " ".join([*options, shlex.quote(f"{path}[{extra}]" if extra else path)])
    folder = shlex.quote(str(PurePosixPath(PROJECT) / shipment.folder))
    return _INSTALL.format(home=HOME, archive=ARCHIVE, folder=folder, python=PYTHON, install=place)


def follow() -> str:
    """Returns a script that prints the log of what was begun, from its first line on, until it ends."""
    return _FOLLOW.format(home=HOME)


def stop() -> str:
    """Returns a script that stops what was begun; it finishes its step and saves it."""
    return _STOP.format(home=HOME)


def code() -> str:
    """Returns a script that prints the exit code of what was begun, once it has ended."""
    return f'cat "{HOME}/exit_code"'
