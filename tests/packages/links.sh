#!/bin/bash
# Checks that each relative link in the documents of a package has a target: links.sh FOLDER.
set -euo pipefail

seen=0 missing=0
while IFS=: read -r page link; do
    link=${link#']('}
    link=${link%')'}
    file=${link%%#*}
    if [[ $link == *://* || -z $file ]]; then continue; fi
    seen=$((seen + 1))
    if [[ ! -e ${page%/*}/$file ]]; then
        echo "$page: $link does not exist"
        missing=$((missing + 1))
    fi
done < <(grep --recursive --only-matching --extended-regexp --include='*.md' '\]\([^)[:space:]]+\)' "$1")
if ((seen == 0)); then echo "$1: no links" && exit 1; fi
exit $((missing > 0))
