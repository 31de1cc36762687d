#!/usr/bin/env bash
# The echo example answers the ping example: echo_check.sh ECHO PING
set -euo pipefail

coproc SERVER { exec "$1" 0; }
server=$SERVER_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r -t 20 word port <&"${SERVER[0]}"
[ "$word" = ready ]
lines=$("$2" "$port" 5 | grep -c ' us$')
[ "$lines" = 5 ]
# Nobody listens there any more: an error that says so, and status 1.
kill "$server"
wait "$server" 2>/dev/null || true
if "$2" "$port" 1 2>/dev/null; then
    echo "ping succeeded without a server" >&2
    exit 1
fi
