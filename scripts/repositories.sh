#!/usr/bin/env bash
# Writes an apt and a yum repository of the packages in a folder: scripts/repositories.sh FOLDER [KEY].
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/repositories.sh FOLDER [KEY]

Writes FOLDER/apt with all .deb files of FOLDER and FOLDER/yum with all .rpm files. The files are
links to the same data. The metadata depend only on the packages and the commit.

With KEY, the ID of a secret key of gpg, it signs the metadata: apt/dists/stable/InRelease and
Release.gpg, yum/repodata/repomd.xml.asc; and exports the public key as tallyd.asc. Without
it, clients must trust the repository without a signature, which is for tests only.
EOF
}

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac
folder=$(cd "$1" && pwd)
key=${2:-}

# The metadata name this time.
epoch=$(commit_time)

# --- apt -----------------------------------------------------------------------------

write_apt() {
    local architecture index
    rm -rf "$folder/apt"
    mkdir -p "$folder/apt/pool"
    ln "$folder"/*.deb "$folder/apt/pool/"
    cd "$folder/apt"
    for architecture in amd64 arm64; do
        index=dists/stable/main/binary-$architecture
        mkdir -p "$index"
        dpkg-scanpackages --arch "$architecture" pool 2>/dev/null >"$index/Packages"
        gzip -9nk "$index/Packages"
    done
    release=(-o APT::FTPArchive::Release::Origin=tallyd -o APT::FTPArchive::Release::Label=tallyd
        -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable
        -o "APT::FTPArchive::Release::Architectures=amd64 arm64"
        -o APT::FTPArchive::Release::Components=main)
    apt-ftparchive "${release[@]}" release dists/stable |
        sed "s/^Date: .*/Date: $(date --utc --date "@$epoch" '+%a, %d %b %Y %H:%M:%S UTC')/" >Release
    mv Release dists/stable/
    cd "$root"
}

# --- yum -----------------------------------------------------------------------------

write_yum() {
    mkdir -p "$folder/yum/packages"
    ln "$folder"/*.rpm "$folder/yum/packages/"
    # The modification times of the packages are in the metadata.
    touch --date "@$epoch" "$folder"/yum/packages/*.rpm
    createrepo_c --quiet --no-database --simple-md-filenames --revision "$epoch" \
        --set-timestamp-to-revision "$folder/yum"
}

# --- signatures ----------------------------------------------------------------------

sign() { # KEY
    local gpg=(gpg --batch --yes --local-user "$1")
    "${gpg[@]}" --clearsign --output "$folder/apt/dists/stable/InRelease" "$folder/apt/dists/stable/Release"
    "${gpg[@]}" --armor --detach-sign --output "$folder/apt/dists/stable/Release.gpg" \
        "$folder/apt/dists/stable/Release"
    if [[ -e $folder/yum ]]; then "${gpg[@]}" --armor --detach-sign "$folder/yum/repodata/repomd.xml"; fi
    gpg --armor --export "$1" >"$folder/tallyd.asc"
}

# --- main ----------------------------------------------------------------------------

rm -rf "$folder/yum" "$folder/tallyd.asc"
write_apt
if compgen -G "$folder/*.rpm" >/dev/null; then write_yum; fi
if [[ -n $key ]]; then sign "$key"; fi
