#!/usr/bin/env bash
# Metrics from bash alone, using its /dev/udp: copy the functions into your script.
#
#   TALLYD_ADDRESS=127.0.0.1:5090 STATSD_ADDRESS=127.0.0.1:8125 ./shop.sh
#
# A host name in the address is resolved with every message: use a numeric address.
set -euo pipefail

tallyd=${TALLYD_ADDRESS:-127.0.0.1:5090}
statsd=${STATSD_ADDRESS:-127.0.0.1:8125}

# Sends a datagram. If no process listens, bash prints an error, and `set -e` would end the script: so
# both are suppressed. Bash writes up to the last newline, and then the rest in a second datagram: so
# the newline is at the end, as part of the text.
datagram() { # HOST:PORT TEXT
    { printf '%s' "$2"$'\n' >"/dev/udp/${1%:*}/${1##*:}"; } 2>/dev/null || true
}

# The text as a JSON string.
quoted() { # TEXT
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\r'/\\r}
    text=${text//$'\t'/\\t}
    printf '"%s"' "$text"
}

# Sends a message. The value is quoted: tallyd also accepts numbers as text, and "+4" and "-4"
# change a gauge. (To set a gauge to a value below 0, send a number without quotes.)
metric() { # NAME TYPE VALUE [KEY=VALUE...]
    local message tag
    message="{\"metric_name\":$(quoted "$1"),\"metric_type\":\"$2\""
    if [[ -n $3 ]]; then message+=",\"value\":$(quoted "$3")"; fi
    for tag in "${@:4}"; do message+=",$(quoted "${tag%%=*}"):$(quoted "${tag#*=}")"; done
    datagram "$tallyd" "$message}"
}

# 12345 microseconds -> 12.345
ms() { # MICROSECONDS
    printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

# Runs a command, measures it in milliseconds, and returns its exit status.
timed() { # NAME COMMAND...
    local name=$1 status=0 began=${EPOCHREALTIME/[.,]/} ended
    shift
    "$@" || status=$?
    ended=${EPOCHREALTIME/[.,]/}
    metric "$name" timer "$(ms $((ended - began)))" "status=$status"
    return "$status"
}

metric shop.orders counter "" payment=card
metric shop.orders counter 2 payment=card
metric shop.carts gauge 17
metric shop.carts gauge -2
for customer in anna bert anna; do metric shop.customers set "$customer"; done
metric shop.signup trace "" step=confirm browser=firefox
metric shop.items counter 4950 product='Käse "alt"'
timed shop.checkout true

# The same as statsd lines, several to a datagram. They have no traces.
datagram "$statsd" "shop.orders:1|c|#payment:card
shop.orders:2|c|#payment:card
shop.carts:17|g
shop.carts:-2|g
shop.customers:anna|s
shop.customers:bert|s
shop.customers:anna|s
shop.checkout:12.5|ms|#status:0"
