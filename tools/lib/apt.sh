# shellcheck shell=bash disable=SC2154  # liburing_least is of the program, scratch of common.sh
# apt, used so that the system's own apt configuration is read but never changed. Needs common.sh.

# Waits for another apt instead of failing, retries a flaky mirror, asks nothing.
apt_options=(-q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)

apt_install() {
    try_logged as_root env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" \
        install --no-install-recommends "$@"
}

# Sources that have nothing to do with us may be broken; whether what we need can be had shows later.
apt_update() {
    say "refreshing apt's package lists"
    try_logged as_root apt-get "${apt_options[@]}" update ||
        warn "apt-get update had errors (above); going on with the lists there are"
}

# Version that apt would install from the system's own sources; empty if none.
apt_candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

# Prints "ORIGIN MIRROR KEYRING" of the distribution this system installs from, read off apt's own
# configuration, so that no host is named here and a local mirror is used where there is one.
# KEYRING is - where the source names none: apt then uses its trusted keys.
apt_distribution() {
    local origin release mirror entry keyring

    # A release with a dash adds to another (-updates, -security, -backports), often on another server.
    # shellcheck disable=SC2016  # $(ORIGIN) is apt's syntax, not the shell's
    IFS='|' read -r origin release mirror entry < <(
        apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(REPO_URI)|$(SOURCESENTRY)' \
            'Created-By: Packages' 2>/dev/null |
            awk -F'|' '($1 == "Debian" || $1 == "Ubuntu") && $2 !~ /-/ { print; exit }') || return 1
    [ -n "$mirror" ] && [ -n "$release" ] || return 1
    # The entry is FILE:NUMBER; both formats of source files may name a keyring by its path.
    keyring=$(sed -nE 's/^[^#]*[Ss]igned-[Bb]y[=:] *(\/[^] ,]+).*/\1/p' "${entry%:*}" 2>/dev/null | head -n 1)
    printf '%s %s %s\n' "$origin" "$mirror" "${keyring:--}"
}

# Suites that may hold something newer than this system's, the newest first.
apt_newer_suites() {
    case $1 in
    Debian) echo sid trixie ;;
    Ubuntu) echo devel resolute questing ;;
    esac
}

# apt_private TYPE SUITE [PACKAGE...]: prepares an apt that knows SUITE (TYPE deb or deb-src) and
# nothing else, with lists, cache and preferences of its own, and leaves its configuration in
# $apt_private_config for apt-get -c. Only the named packages can be installed from it.
apt_private_config=
apt_private() {
    local type=$1 suite=$2 origin mirror keyring target=Packages signed_by='' dir
    shift 2

    read -r origin mirror keyring < <(apt_distribution) || {
        warn "found neither a Debian nor an Ubuntu mirror in apt's configuration"
        return 1
    }
    make_scratch
    dir=$scratch/apt-$type-$suite
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    if [ "$type" = deb-src ]; then target=Sources; fi
    if [ "$keyring" != - ]; then signed_by=" signed-by=$keyring"; fi
    printf '%s [arch=%s target=%s lang=none%s] %s %s main\n' \
        "$type" "$(dpkg --print-architecture)" "$target" "$signed_by" "$mirror" "$suite" >"$dir/sources.list"
    {
        printf 'Package: *\nPin: release a=*\nPin-Priority: -1\n'
        if [ $# -gt 0 ]; then printf '\nPackage: %s\nPin: release a=*\nPin-Priority: 990\n' "$*"; fi
    } >"$dir/preferences"
    cat >"$dir/apt.conf" <<END
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "$dir/preferences";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$dir/lists";
Dir::Cache "$dir/cache";
END
    apt_private_config=$dir/apt.conf
    say "reading the $type list of $origin's $suite (the system's apt sources stay as they are)"
    try_logged apt-get -c "$apt_private_config" "${apt_options[@]}" -o APT::Update::Error-Mode=any update
}

# apt_install_from_newer PACKAGE...: installs them, from the newest suite where that touches nothing
# but the libraries of ring and kernel headers. Refuses a suite that would drag anything else along.
apt_install_from_newer() {
    local origin rest suite plan others
    local allowed='^(liburing[0-9a-z]*(-dev|-ffi[0-9]*)?|linux-libc-dev)$'

    read -r origin rest < <(apt_distribution) ||
        fail "cannot tell from apt's configuration which distribution this is" \
            "install liburing-dev >= $liburing_least and kernel headers with linux/blkdev.h yourself"
    for suite in $(apt_newer_suites "$origin"); do
        apt_private deb "$suite" liburing-dev liburing2 liburing-ffi2 linux-libc-dev || continue
        plan=$(LC_ALL=C apt-get -c "$apt_private_config" -s install --no-install-recommends "$@" 2>&1) || {
            warn "$suite: apt cannot install $* here: $(grep -E 'Depends|^E:' <<<"$plan" | head -n 3 | tr -s '\n ' ' ')"
            continue
        }
        others=$(awk '$1 == "Inst" || $1 == "Remv" { sub(/:.*/, "", $2); print $1, $2 }' <<<"$plan" |
            awk -v ok="$allowed" '$1 == "Remv" || $2 !~ ok { print $2 }' | sort -u | tr '\n' ' ')
        if [ -n "$others" ]; then
            warn "$suite: refused, it would also change: $others"
            continue
        fi
        say "installing $(awk '$1 == "Inst" { gsub(/[()]/, ""); print }' <<<"$plan" |
            sed -E 's/^Inst ([^ ]+) (\[[^]]*\] )?([^ ]+).*/\1 \3/' | paste -sd, | sed 's/,/, /g') from $suite"
        try_logged as_root env DEBIAN_FRONTEND=noninteractive apt-get -c "$apt_private_config" \
            "${apt_options[@]}" --no-remove install --no-install-recommends "$@" && return 0
    done
    fail "no suite of $origin offers $* in a way that leaves the rest of the system alone" \
        "install liburing-dev >= $liburing_least and kernel headers with linux/blkdev.h yourself, then run this again"
}
