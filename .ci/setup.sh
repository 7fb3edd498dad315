#!/bin/sh
# Install what a target needs: .venv, with this project and what its tests import in it, and first,
# where `mariadb` is named, a MariaDB for tests to start, and where `languages` is, what the programs
# in tests/programs need. Called by make.
#
# Does nothing where all is there. .venv is current while the stamp in it holds where the checkout is
# and the checksum of pyproject.toml. PYTHON names the interpreter; else the first one that will do
# is taken.

set -eu
cd "$(dirname "$0")/.."

stamp=.venv/stamp
wanted="$(pwd -P) $(cksum <pyproject.toml)"

main() {
    for what in "$@"; do
        case "$what" in
        mariadb) has_mariadb || install_mariadb ;;
        languages) install_languages ;;
        *) fail "there is no $what to set up: say .ci/setup.sh, with mariadb, languages or both" ;;
        esac
    done
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

# Other languages

programs=tests/programs
modules="$programs/node_modules"

install_languages() {
    missing="$(missing_for_languages)"
    # shellcheck disable=SC2086  # one package a word
    [ -z "$missing" ] ||
        apt_install "the tests run programs in other languages, and not all is here for that" \
            $missing
    modules_are_current || make_modules
}

# Debian's packages with what is not here, one a line. The compiler is for better-sqlite3.
missing_for_languages() {
    command -v sqlite3 >/dev/null || echo sqlite3
    perl -MDBD::SQLite -e 1 2>/dev/null || echo libdbd-sqlite3-perl
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
}

wanted_modules() {
    printf '%s %s\n' "$(cksum <"$programs/package-lock.json")" "$(node -p 'process.version')"
}

modules_are_current() {
    [ -f "$modules/.stamp" ] && [ "$(cat "$modules/.stamp")" = "$(wanted_modules)" ]
}

# better-sqlite3 is compiled here, which needs no download but npm's, and without optimization, which
# takes a quarter of the time.
make_modules() {
    say "installing what Node's programs in $programs import; this takes half a minute"
    npm ci --prefix "$programs" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
        fail "npm could not install $programs/package-lock.json; the first set-up needs the network."
    # shellcheck disable=SC2046  # one option, or none
    CFLAGS=-O0 CXXFLAGS=-O0 npm run --prefix "$programs" build -- $(node_headers) \
        >"$modules/build.log" 2>&1 || {
        tail -n 20 "$modules/build.log" >&2
        fail "could not build better-sqlite3: all that was said is in $modules/build.log"
    }
    wanted_modules >"$modules/.stamp"
}

# The option that names the directory of Node's headers, where they are here: else they are downloaded.
node_headers() {
    root="$(node -p 'path.dirname(path.dirname(process.execPath))')"
    major="$(node -p 'process.versions.node.split(".")[0]')"
    if grep -qs "NODE_MAJOR_VERSION $major\$" "$root/include/node/node_version.h"; then
        printf '%s\n' "--nodedir=$root"
    fi
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
