#!/bin/sh
# Makes the virtual environment $1 from the committed lock. Idempotent.
set -eu
venv=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "argosy needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3.12 setup" >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3-venv
    else
        echo "Python's venv module is missing. On Debian: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "Installing from requirements.lock into $venv ..."
"$venv/bin/python" -m pip install -q --require-hashes --only-binary :all: -r requirements.lock
"$venv/bin/python" -m pip install -q --no-deps --no-build-isolation --no-index -e .
