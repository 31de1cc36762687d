# shellcheck shell=bash
# Helpers shared by the programs in tools/. Sourced, never run.

# Prefix of every line, so that our own words can be told from those of apt, cmake and ctest.
program=${0##*/}

say()  { printf '%s: %s\n' "$program" "$*"; }
warn() { printf '%s: warning: %s\n' "$program" "$*" >&2; }

# fail MESSAGE [HINT]: the last words of a program that cannot go on.
fail() {
    printf '%s: error: %s\n' "$program" "$1" >&2
    if [ $# -gt 1 ]; then printf '%s: hint: %s\n' "$program" "$2" >&2; fi
    exit 1
}

has_command() { command -v "$1" >/dev/null 2>&1; }

# A private directory, removed at exit. World-readable, since apt downloads as a user of its own (_apt).
scratch=
make_scratch() {
    if [ -n "$scratch" ]; then return; fi
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/ringloop-$program.XXXXXX")
    chmod 755 "$scratch"
    trap remove_scratch EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

remove_scratch() {
    # When we are not root, apt under sudo may have left files of root's in it.
    rm -rf "$scratch" 2>/dev/null || as_root rm -rf "$scratch"
}

# As root: directly, or through sudo. may_be_root tells beforehand whether that will work.
as_root() {
    if [ "$EUID" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

may_be_root() {
    if [ "$EUID" -eq 0 ]; then return 0; fi
    has_command sudo || return 1
    # With nobody at the terminal a password prompt would wait for ever.
    sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }
}

# try_logged COMMAND...: quiet if it works; if not, shows what was run and the end of what it printed.
try_logged() {
    local log status=0

    make_scratch
    log=$scratch/command.log
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -eq 0 ]; then return 0; fi
    {
        if [ "$1" = as_root ]; then shift; fi
        printf '%s: this command failed with status %d: %s\n' "$program" "$status" "$*"
        tail -n 12 "$log" | sed 's/^/    /'
    } >&2
    return "$status"
}
