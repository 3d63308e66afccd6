#!/bin/bash
# Installs tallyd from an apt repository, and from no other: apt.sh FOLDER [KEY].
# The tests run this as root in a separate Debian. KEY is the public key of the repository; without it,
# the repository is trusted as it is.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

folder=$1 key=${2:-}
list=/etc/apt/sources.list.d/tallyd.list
option=trusted=yes
if [[ -n $key ]]; then
    mkdir -p /etc/apt/keyrings
    cp "$key" /etc/apt/keyrings/tallyd.asc
    option=signed-by=/etc/apt/keyrings/tallyd.asc
fi
echo "deb [$option] file:$folder stable main" >"$list"
# Debian's own repositories are out of reach in the tests, and hold no tallyd.
only=(-o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=/dev/null)
apt-get "${only[@]}" --quiet=2 -o APT::Update::Error-Mode=any update
apt-get "${only[@]}" --quiet=2 install tallyd
rm -rf "$list" /etc/apt/keyrings/tallyd.asc
