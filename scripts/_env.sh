# Sourced by the scripts next to it: enter the checkout and put its virtual environment first in
# PATH, made or brought up to date when pyproject.toml has changed. Any other active environment
# is ignored, so that a script does the same wherever it is called from.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH
# Servers live in sbin on Debian, which is not in every user's PATH.
PATH="$PWD/.venv/bin:$PATH:/usr/local/sbin:/usr/sbin"
export PATH

note() { printf '%s\n' "$*" >&2; }

on_debian_as_root() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

# Install Debian packages without starting the services that they bring: policy-rc.d with exit
# code 101 is Debian's way to say so.
apt_install() {
    local policy=/usr/sbin/policy-rc.d made=0 status=0
    note "installing $*"
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=1
    fi
    {
        apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@"
    } </dev/null >&2 || status=$?
    if [[ $made == 1 ]]; then rm -f "$policy"; fi
    return "$status"
}

# Print a Python >= 3.11. A name in PATH may be a shim without an interpreter, so try each.
find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    note "mqtasks needs Python 3.11 or newer, and none of python3, python3.11 to python3.14 is one."
    note "On Debian or Ubuntu: apt-get install -y python3 python3-venv"
    return 1
}

make_venv() {
    # The interpreter that is found must not be the broken one in .venv.
    local base
    base=$(PATH=${PATH#"$PWD/.venv/bin:"} find_python)
    if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
        if ! on_debian_as_root; then
            note "$base cannot make virtual environments."
            note "On Debian or Ubuntu: apt-get install -y python3-venv"
            return 1
        fi
        apt_install python3-venv
    fi
    "$base" -m venv --clear .venv
}

ensure_venv() {
    local wanted
    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        note "making the virtual environment .venv"
        make_venv
    fi
    wanted=$(printf '%s\n' "$PWD" "$(.venv/bin/python -V)" "$(cksum <pyproject.toml)")
    if [[ $(cat .venv/.mqtasks 2>/dev/null) != "$wanted" ]]; then
        note "installing mqtasks and its development tools into .venv"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
        printf '%s\n' "$wanted" >.venv/.mqtasks
    fi
}

# MariaDB and Redis, for what runs against private servers. Never skip: a test that did not run
# proves nothing.
ensure_servers() {
    local missing=()
    command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null ||
        missing+=(mariadb-server)
    command -v redis-server >/dev/null || missing+=(redis-server)
    if [[ ${#missing[@]} == 0 ]]; then return; fi
    if ! on_debian_as_root; then
        note "missing: ${missing[*]}"
        note "On Debian or Ubuntu, as root: apt-get install -y --no-install-recommends ${missing[*]}"
        note "On macOS: brew install mariadb redis"
        return 1
    fi
    apt_install "${missing[@]}"
}

ensure_venv
