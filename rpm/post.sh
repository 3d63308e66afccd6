# shellcheck shell=sh
# $1 is the number of versions afterwards: 1 for an installation.
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null 2>&1 || :
fi
# The host's presets decide whether the units are enabled.
if [ "$1" -eq 1 ] && command -v systemctl >/dev/null; then
    systemctl preset tallyd.service tallyd.socket >/dev/null 2>&1 || :
fi
