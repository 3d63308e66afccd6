# shellcheck shell=sh
# Creates the daemon's user, which stays when the package is erased.
getent group tallyd >/dev/null || groupadd --system tallyd || exit 1
getent passwd tallyd >/dev/null ||
    useradd --system --gid tallyd --no-create-home --home-dir /var/lib/tallyd \
        --shell /usr/sbin/nologin --comment "tallyd metrics daemon" tallyd || exit 1
