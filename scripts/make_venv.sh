#!/bin/sh
# Makes the virtual environment in which every other target of the Makefile works, or brings it up to date:
#     scripts/make_venv.sh DIRECTORY [PYTHON [GROUP]]
# GROUP is one of pyproject.toml, without Extra itself where it is not `dev`. Without PYTHON it takes the first one that runs, is a version that Extra supports and can make environments:
# a name on the PATH alone says little, since version managers put launchers there for what they have not got.
set -eu

venv=$1
asked=${2:-}
group=${3:-dev}

complain() {
    echo "make: $*" >&2
    exit 1
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

makes_environments() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

choose_python() {
    if [ -n "$asked" ]; then
        supported "$asked" || complain "PYTHON=$asked does not run, or is not Python 3.11, 3.12 or 3.13"
        candidates=$asked
    else
        candidates="python3.11 python3.12 python3.13 python3"
    fi
    lacking=
    for python in $candidates; do
        supported "$python" || continue
        makes_environments "$python" && return
        lacking=${lacking:-$python}
    done
    [ -z "$lacking" ] || complain "$lacking has no ensurepip, so it cannot make a virtual environment:" \
        "on Debian and Ubuntu, apt-get install python$(version "$lacking")-venv; or name another, make PYTHON=..."
    complain "there is no Python 3.11, 3.12 or 3.13 here; if there is one elsewhere, make PYTHON=/path/to/python3.11"
}

if [ ! -x "$venv/bin/python" ]; then
    choose_python
    echo "make: a virtual environment in $venv, with $("$python" --version)"
    "$python" -m venv "$venv"
elif ! supported "$venv/bin/python"; then
    complain "the Python of $venv does not run, or is not 3.11, 3.12 or 3.13: remove that directory"
elif [ -n "$asked" ] && [ "$(version "$asked")" != "$(version "$venv/bin/python")" ]; then
    complain "$venv has Python $(version "$venv/bin/python"), PYTHON=$asked is $(version "$asked"): give VENV=... too"
fi

echo "make: installing what is needed into $venv; the first time this takes a minute"
# EXTRA_MYPYC=0: compiled modules beside their sources would hide every later edit
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONPATH='' EXTRA_MYPYC=0
pip="$venv/bin/python -m pip --quiet --no-input"
$venv/bin/python -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
$pip install --upgrade 'pip>=25.1' # the first that knows dependency groups
$pip install --group "$group"
[ "$group" != dev ] || $pip install --no-build-isolation --editable .
