# shellcheck shell=bash
# Servers of others that tests run by themselves, in directories of their own. Debian's packages start them as services
# and at every boot, which nobody has asked for here: they are installed without. Needs common.sh and apt.sh.

has_redis()    { has_command redis-server; }
has_postgres() { has_command postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

# Services may not start while this is there; one of the administrator's stays.
services_forbid() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    services_forbidden=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
}

services_allow() {
    if [ $services_forbidden = yes ]; then as_root rm -f /usr/sbin/policy-rc.d; fi
    services_forbidden=no
}
services_forbidden=no

install_redis() {
    apt_install redis-server || return 1
    # Debian's package has switched it on for the next boot.
    as_root update-rc.d redis-server disable >/dev/null 2>&1 || warn "could not switch off the service redis-server"
}

# The package makes a cluster of its own and runs it, unless it is told not to.
install_postgres() {
    local settings=/etc/postgresql-common/createcluster.conf status=0

    apt_install postgresql-common || return 1
    make_scratch
    if [ -e $settings ]; then as_root cp -p $settings "$scratch/createcluster.conf"; fi
    as_root mkdir -p "${settings%/*}"
    printf 'create_main_cluster = false\n' | as_root tee $settings >/dev/null
    apt_install postgresql || status=1
    if [ -e "$scratch/createcluster.conf" ]; then
        as_root cp -p "$scratch/createcluster.conf" $settings
    else
        as_root rm -f $settings
    fi
    return $status
}

# servers_install redis|postgres...
servers_install() {
    local server status=0

    make_scratch
    trap 'services_allow; remove_scratch' EXIT
    services_forbid
    for server in "$@"; do
        say "installing a server for tests, not as a service: $server"
        "install_$server" || { status=1 && break; }
    done
    services_allow
    return $status
}
