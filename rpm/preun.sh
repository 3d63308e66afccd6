# shellcheck shell=sh
# $1 is the number of versions afterwards: 0 if the package is erased.
if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
    systemctl --no-reload disable tallyd.socket tallyd.service >/dev/null 2>&1 || :
    if [ -d /run/systemd/system ]; then
        systemctl stop tallyd.socket tallyd.service >/dev/null 2>&1 || :
    fi
fi
