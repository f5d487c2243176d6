"""Makes .venv and installs locks into it: `python3 requirements/install.py base dev`.

Only the standard library, since nothing is installed yet. A lock that is already in .venv is left alone, and
nothing is ever removed. Written so that an older Python can at least say that it is too old.
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
    missing = [name for name in options.locks if not (HERE / (name + ".txt")).is_file()]
    if missing:
        sys.exit(f"requirements/{missing[0]}.txt does not exist.")
    make_venv(options.this_python)
    for name in options.locks:
        install(name)


def make_venv(this_python):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    there = venv_version()
    if there and (there == version or not this_python):
        return
    if sys.version_info < LEAST:
        sys.exit(
            f"Supportdesk needs Python {LEAST[0]}.{LEAST[1]} or newer and {sys.executable} is {version}: "
            "name another, as in make run PYTHON=python3.13"
        )
    print(f"Making {VENV.name} with Python {version}", flush=True)
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
    stamp = VENV / (f"installed-{name}.sha256")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    print(f"Installing requirements/{name}.txt", flush=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Python compiles what it imports: compiling all that is installed takes longer than installing it.
    run([*pip, "--require-hashes", "--no-compile", "-r", str(lock)])
    stamp.write_text(digest)


def run(command):
    code = subprocess.call(command)
    if code:
        sys.exit(f"This ended with {code}: {' '.join(command)}")


if __name__ == "__main__":
    main()
