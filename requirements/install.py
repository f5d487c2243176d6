"""Makes .venv and installs locks into it: `python3 requirements/install.py base dev`.

Only the standard library, since nothing is installed yet. A lock that is already in .venv is left alone, and
nothing is ever removed.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = Path(os.environ.get("VENV", HERE.parent / ".venv")).absolute()
LEAST = (3, 11)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("locks", nargs="+", metavar="LOCK", help="base, dev or llm")
    arguments.add_argument("--this-python", action="store_true", help="make .venv anew if it has another version")
    options = arguments.parse_args()
    wanted = [name for name in options.locks if not (HERE / (name + ".txt")).is_file()]
    if wanted:
        sys.exit("requirements/%s.txt does not exist." % wanted[0])
    make_venv(options.this_python)
    for name in options.locks:
        install(name)


def make_venv(this_python):
    version = "%d.%d" % sys.version_info[:2]
    there = venv_version()
    if there and (there == version or not this_python):
        return
    if sys.version_info < LEAST:
        sys.exit(
            "Supportdesk needs Python %d.%d or newer and this is %s (%s): name another, as in make run PYTHON=python3.13"
            % (*LEAST, version, sys.executable)
        )
    print("Making %s with Python %s" % (VENV.name, version), flush=True)
    run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def venv_version():
    """The major.minor of the Python in .venv; None when there is none, or one whose interpreter went away."""
    if not (VENV / "bin" / "python").exists():
        return None
    for line in (VENV / "pyvenv.cfg").read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "version":
            return ".".join(value.strip().split(".")[:2])
    return None


def install(name):
    lock = HERE / (name + ".txt")
    stamp = VENV / ("installed-%s.sha256" % name)
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    print("Installing requirements/%s.txt" % name, flush=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--require-hashes", "-r", str(lock)])
    stamp.write_text(digest)


def run(command):
    code = subprocess.call(command)
    if code:
        sys.exit("Failed (%d): %s" % (code, " ".join(command)))


if __name__ == "__main__":
    main()
