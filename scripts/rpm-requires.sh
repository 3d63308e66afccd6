#!/usr/bin/env bash
# Prints what the programs whose paths it reads need, in RPM's form, such as libc.so.6(GLIBC_2.34)(64bit). cargo-generate-rpm
# calls it: its own way is ldd, which cannot read a program for another processor.
set -euo pipefail
export LC_ALL=C

# The last path has no end of line. A file that is no program has no requirements.
while read -r file || [[ -n $file ]]; do
    { objdump -p "$file" 2>/dev/null || true; } | awk '
        $1 == "NEEDED" { print $2 "()(64bit)" }
        /^ *required from / { library = substr($3, 1, length($3) - 1) }
        library && /^ *0x/ { print library "(" $4 ")(64bit)" }
        $1 == "GNU_HASH" { print "rtld(GNU_HASH)" }'
done | sort -u
