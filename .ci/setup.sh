#!/bin/sh
# Install what a target needs: .venv, with this project and what its tests import in it, and first,
# when called as `setup.sh mariadb`, a MariaDB for tests to start. Called by make.
#
# Does nothing where all is there. .venv is current while the stamp in it holds where the checkout is
# and the checksum of pyproject.toml. PYTHON names the interpreter; else the first one that will do
# is taken.

set -eu
cd "$(dirname "$0")/.."

stamp=.venv/stamp
wanted="$(pwd -P) $(cksum <pyproject.toml)"

main() {
    case "$*" in
    "") ;;
    mariadb) has_mariadb || install_mariadb ;;
    *) fail "there is no $* to set up: say .ci/setup.sh, or .ci/setup.sh mariadb" ;;
    esac
    venv_is_current || make_venv
}

say() {
    printf '%s\n' "setup: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }
}

# apt_install WHY PACKAGE...: install Debian's packages, or fail with why they are needed.
apt_install() {
    why="$1"
    shift
    if ! command -v apt-get >/dev/null || ! can_be_root; then
        fail "$why. On Debian, install $*" \
            "(as root: apt-get update && apt-get install -y $*) and try again."
    fi
    say "installing $* with apt-get"
    as_root apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "could not install $*: do so as root, and try again."
}

# MariaDB

# tests/mariadb.py looks in the same places: the PATH of an ordinary user on Debian has no sbin.
has_mariadb() (
    PATH="$PATH:/usr/local/sbin:/usr/sbin"
    for program in mariadbd mariadb-install-db my_print_defaults; do
        command -v "$program" >/dev/null || exit 1
    done
)

# The programs only: Debian's mariadb-server would also make a database and start a service, which
# no test uses. mariadb-install-db runs my_print_defaults, which is in the client's package.
install_mariadb() {
    apt_install "the tests start a MariaDB of their own, and there is none here" \
        mariadb-server-core mariadb-client-core
    has_mariadb || fail "mariadbd or mariadb-install-db is still missing, with MariaDB installed."
}

# Python

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

has_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# The interpreters that are recent enough, one a line, best first.
recent() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.11 python3 python3.12 python3.13 python3.14
    fi
    for candidate in "$@"; do
        if is_recent "$candidate"; then
            command -v "$candidate"
        fi
    done
}

# Debian keeps ensurepip, without which no venv gets its pip, in a package of its own.
install_venv() {
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    apt_install "$1 cannot make a virtual environment" "$package"
    has_venv "$1" || fail "$1 still cannot make a virtual environment, with $package installed."
}

# The interpreter to use: one that can make a venv as it is, else one that can be helped to.
find_python() {
    found="$(recent)"
    if [ -z "$found" ]; then
        fail "there is no Python 3.11 or later here${PYTHON:+ (PYTHON is $PYTHON)}. On Debian 12:" \
            "apt-get install -y python3 python3-venv. Elsewhere, name one: make PYTHON=/path/to/python"
    fi
    while IFS= read -r candidate; do
        if has_venv "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done <<END
$found
END
    best="$(printf '%s\n' "$found" | head -n 1)"
    install_venv "$best"
    printf '%s\n' "$best"
}

venv_is_current() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && is_recent .venv/bin/python
}

make_venv() {
    rm -f "$stamp"
    if ! is_recent .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python="$(find_python)"
        say "making .venv with $python"
        "$python" -m venv --clear .venv
    fi
    say "installing the project into .venv; this takes a minute the first time"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' ||
        fail "pip could not install the project; the first set-up needs the network."
    printf '%s\n' "$wanted" >"$stamp"
}

main "$@"
