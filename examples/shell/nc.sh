#!/bin/sh
# Metrics with nc, for any shell:
#
#   TALLYD_ADDRESS=127.0.0.1:5090 STATSD_ADDRESS=127.0.0.1:8125 ./nc.sh
#
# This is OpenBSD's nc, as in Debian; -w0 makes it end after sending. The option of other versions may be
# `-q0` (Debian's netcat-traditional) or `--send-only` (Nmap's ncat).
set -eu

tallyd=${TALLYD_ADDRESS:-127.0.0.1:5090}
statsd=${STATSD_ADDRESS:-127.0.0.1:8125}

# Sends its input as one datagram, up to 16 KiB: nc splits longer input at arbitrary places. If no
# process listens, the script continues.
datagram() { # HOST:PORT
    nc -u -w0 "${1%:*}" "${1##*:}" 2>/dev/null || true
}

datagram "$tallyd" <<END
{"metric_name": "shop.orders", "metric_type": "counter", "count": 3, "payment": "card"}
{"metric_name": "shop.carts", "metric_type": "gauge", "value": 15}
{"metric_name": "shop.customers", "metric_type": "set", "value": "anna"}
{"metric_name": "shop.customers", "metric_type": "set", "value": "bert"}
{"metric_name": "shop.signup", "metric_type": "trace", "step": "confirm", "browser": "firefox"}
{"metric_name": "shop.items", "metric_type": "counter", "count": 4950, "product": "Käse \"alt\""}
{"metric_name": "shop.checkout", "metric_type": "timer", "value": 12.5, "status": 0}
END

datagram "$statsd" <<END
shop.orders:3|c|#payment:card
shop.carts:15|g
shop.customers:anna|s
shop.customers:bert|s
shop.checkout:12.5|ms|#status:0
END
