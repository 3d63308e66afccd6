# shellcheck shell=sh
# $1 is how many versions are there afterwards: 1 at an installation.
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null 2>&1 || :
fi
# Whether it is enabled is up to the host's presets.
if [ "$1" -eq 1 ] && command -v systemctl >/dev/null; then
    systemctl preset tallyd.service tallyd.socket >/dev/null 2>&1 || :
fi
