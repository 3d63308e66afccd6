#!/usr/bin/env bash
# Builds the container image, without a container engine: scripts/image.sh [OPTION...]
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=target/image
output=

usage() {
    cat <<EOF
usage: scripts/image.sh [--output FILE] ARCH=FOLDER...

Builds an OCI image for each ARCH (amd64, arm64) from FOLDER, the staging folder of
scripts/package.sh for that architecture (target/package), which has the program, its SBOM and
licences. Writes one tar file with all of them, by default
$work/tallyd-VERSION-image.tar.

The image has the program, the C library that it needs, and CA certificates, no shell. These
come from the packages of this host's release of Debian or Ubuntu; apt verifies their signatures.
EOF
}

declare -A staging=()
while (($# > 0)); do
    case $1 in
    --output) output=$2 && shift ;;
    amd64=* | arm64=*) staging[${1%%=*}]=${1#*=} ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
if ((${#staging[@]} == 0)); then usage >&2 && exit 2; fi

# The user of the image, which has no name on the hosts.
readonly user=65532

# --- the distribution's files -------------------------------------------------------

os_release() { sed -n "s/^$1=//p" /etc/os-release | tr -d '"'; } # KEY

# The repositories of this host's release, for another architecture.
sources() { # ARCH
    local origin id codename keyring
    id=$(os_release ID) codename=$(os_release VERSION_CODENAME)
    origin=${id^} keyring=/usr/share/keyrings/$id-archive-keyring.gpg
    # shellcheck disable=SC2016 # apt expands this
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' "Origin: $origin" |
        { grep " $codename" || true; } | repositories_for "$1" "$id" | sort -u |
        sed "s#^#deb [arch=$1 signed-by=$keyring] #; s#\$# main#"
}

# Ubuntu has amd64 on its own servers and the other architectures on separate ones.
repositories_for() { # ARCH ID, lines of REPOSITORY RELEASE
    case $2-$1 in
    "ubuntu-$(host_architecture)" | debian-*) cat ;;
    ubuntu-amd64) sed 's#^[^ ]*#http://archive.ubuntu.com/ubuntu/#' ;;
    *) sed 's#^[^ ]*#http://ports.ubuntu.com/ubuntu-ports/#' ;;
    esac
}

# Downloads packages for an architecture, without a change of this host's apt.
download() { # ARCH PACKAGE... -> the .deb files in $work/debs/ARCH
    local architecture=$1 apt=$root/$work/apt/$1 debs=$work/debs/$1
    shift
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$debs"
    sources "$architecture" >"$apt/sources.list"
    if [[ ! -s $apt/sources.list ]]; then
        echo "image.sh: apt has no list of a repository of Debian or Ubuntu: run apt-get update, or build the image on one of these" >&2
        return 1
    fi
    local options=(
        -o "Dir::State=$apt" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$apt/cache"
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
        -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
        -o "APT::Sandbox::User=root"
    )
    apt-get -qq "${options[@]}" update
    (cd "$debs" && apt-get -qq "${options[@]}" download "$@")
}

# The packages of the base.
base_packages=(libc6 libgcc-s1 ca-certificates)

# The package with the licence of GCC's library, whose name contains the version of GCC.
licence_package() { # ARCH
    dpkg-deb --field "$work/debs/$1"/libgcc-s1_*.deb Depends | grep -o 'gcc-[0-9]*-base'
}

# Copies from the unpacked packages what the image has of them. Debian 12 has the libraries in /lib and /lib64,
# later releases in /usr/lib and /usr/lib64, to which the former are links. The image has no links, and the
# program names its loader in /lib or /lib64.
copy_libraries() { # PACKAGES FOLDER
    local packages=$1 folder=$2 library path target link
    for library in ld-linux-*.so.* libc.so.6 libm.so.6 libgcc_s.so.1; do
        # shellcheck disable=SC2086 # a pattern
        while IFS= read -r path; do
            target=$folder/${path#usr/}
            mkdir -p "$(dirname "$target")"
            if [[ -L $packages/$path ]]; then
                link=$(readlink "$packages/$path")
                ln -sf "${link/#\/usr\///}" "$target"
            else
                cp --archive "$packages/$path" "$target"
            fi
        done < <(cd "$packages" && find lib lib64 usr/lib usr/lib64 -name $library 2>/dev/null)
    done
}

# Checks that the image has the loader and the libraries of the program, in folders that the loader searches.
check_libraries() { # ARCH
    local program=$work/$1/program/usr/bin/tallyd base=$work/$1/base loader libraries library found
    loader=$(LC_ALL=C readelf --program-headers "$program" | sed -n 's/.*program interpreter: \(.*\)]$/\1/p')
    libraries=$(LC_ALL=C readelf --dynamic "$program" | sed -n 's/.*(NEEDED).*\[\(lib.*\)]$/\1/p')
    if [[ -z $loader ]]; then
        echo "image.sh: readelf finds no loader in $program, which should be dynamically linked" >&2
        return 1
    fi
    while read -r library; do
        found=$base/lib/$(gnu_of "$1")/$library
        if [[ $library == /* ]]; then found=$base$library; fi
        # The target of an absolute link is in the image.
        if [[ -L $found && $(readlink "$found") == /* ]]; then found=$base$(readlink "$found"); fi
        if [[ ! -e $found ]]; then
            echo "image.sh: the packages of $(os_release PRETTY_NAME) have no ${found#"$base"}, which the program needs" >&2
            return 1
        fi
    done < <(printf '%s\n' "$loader" "$libraries")
}

copy_certificates() { # PACKAGES FOLDER
    mkdir -p "$2/etc/ssl/certs"
    find "$1/usr/share/ca-certificates/mozilla" -name '*.crt' -print0 | LC_ALL=C sort -z |
        xargs -0 cat >"$2/etc/ssl/certs/ca-certificates.crt"
}

# Lets scanners of vulnerabilities see which versions of Debian's packages the image has.
copy_package_data() { # ARCH PACKAGES FOLDER
    local package
    mkdir -p "$3/var/lib/dpkg/status.d"
    for package in "${base_packages[@]}" "$(licence_package "$1")"; do
        dpkg-deb --field "$work/debs/$1/$package"_*.deb >"$3/var/lib/dpkg/status.d/$package"
        mkdir -p "$3/usr/share/doc/$package"
        if [[ $package == libgcc-s1 ]]; then
            # A link in the package.
            cp "$2/usr/share/doc/$(licence_package "$1")/copyright" "$3/usr/share/doc/$package/"
        else
            cp "$2/usr/share/doc/$package/copyright" "$3/usr/share/doc/$package/"
        fi
    done
}

write_users() { # FOLDER
    mkdir -p "$1/etc"
    printf '%s\n' "root:x:0:0:root:/:/nonexistent" \
        "tallyd:x:$user:$user:tallyd metrics daemon:/var/lib/tallyd:/nonexistent" >"$1/etc/passwd"
    printf '%s\n' "root:x:0:" "tallyd:x:$user:" >"$1/etc/group"
    echo "hosts: files dns" >"$1/etc/nsswitch.conf"
}

make_base() { # ARCH -> $work/ARCH/base
    local packages=$work/unpacked/$1 folder=$work/$1/base package
    rm -rf "$work/debs/$1" "$packages"
    mkdir -p "$packages" "$folder"
    download "$1" "${base_packages[@]}"
    download "$1" "$(licence_package "$1")"
    for package in "$work/debs/$1"/*.deb; do dpkg-deb --extract "$package" "$packages"; done
    copy_libraries "$packages" "$folder"
    copy_certificates "$packages" "$folder"
    copy_package_data "$1" "$packages" "$folder"
    write_users "$folder"
    mkdir -p "$folder/usr/lib"
    grep -E '^(ID|NAME|VERSION|VERSION_ID|VERSION_CODENAME|PRETTY_NAME)=' /etc/os-release \
        >"$folder/usr/lib/os-release"
    ln -s ../usr/lib/os-release "$folder/etc/os-release"
}

# --- tallyd ------------------------------------------------------------------------

make_program() { # ARCH -> $work/ARCH/program
    local from=${staging[$1]} folder=$work/$1/program
    mkdir -p "$folder"/{usr/share/doc/tallyd,var/lib/tallyd,run/tallyd}
    install -D -m 755 "$from/tallyd" "$folder/usr/bin/tallyd"
    install -D -m 644 deploy/image/tallyd.yaml "$folder/etc/tallyd/tallyd.yaml"
    cp LICENSE "$from/third-party.gz" "$from/tallyd.cdx.json" "$folder/usr/share/doc/tallyd/"
    chmod 700 "$folder/var/lib/tallyd"
}

# The permissions must not depend on the umask of the one who builds.
normalize() { # FOLDER
    find "$1" -type d ! -path '*/var/lib/tallyd' -exec chmod 755 {} +
    find "$1" -type f -exec chmod u=rwX,go=rX {} +
}

settings() { # -> the input of oci.py
    cat <<EOF
{
  "owners": {"/var/lib/tallyd": $user, "/run/tallyd": $user},
  "config": {
    "User": "$user:$user",
    "Env": ["PATH=/usr/bin"],
    "Entrypoint": ["/usr/bin/tallyd"],
    "Cmd": ["run"],
    "WorkingDir": "/",
    "ExposedPorts": {"5090/udp": {}, "9495/tcp": {}},
    "Volumes": {"/var/lib/tallyd": {}},
    "StopSignal": "SIGTERM",
    "Healthcheck": {
      "Test": ["CMD", "/usr/bin/tallyd", "health"],
      "Interval": 30000000000, "Timeout": 15000000000, "StartPeriod": 5000000000, "Retries": 3
    },
    "Labels": {
      "org.opencontainers.image.title": "tallyd",
      "org.opencontainers.image.description": "A metrics daemon for one host",
      "org.opencontainers.image.version": "$(version)",
      "org.opencontainers.image.revision": "$(git rev-parse HEAD)",
      "org.opencontainers.image.created": "$(date --utc --date "@$(commit_time)" +%Y-%m-%dT%H:%M:%SZ)",
      "org.opencontainers.image.source": "$(repository)",
      "org.opencontainers.image.licenses": "Apache-2.0",
      "org.opencontainers.image.base.name": "$(os_release ID):$(os_release VERSION_CODENAME)"
    }
  }
}
EOF
}

# --- main --------------------------------------------------------------------------

output=${output:-$work/tallyd-$(version)-image.tar}
layers=()
for architecture in "${!staging[@]}"; do
    rm -rf "${work:?}/$architecture"
    make_base "$architecture"
    make_program "$architecture"
    check_libraries "$architecture"
    for part in base program; do
        normalize "$work/$architecture/$part"
        layers+=(--layer "linux/$architecture=$work/$architecture/$part")
    done
done
settings >"$work/config.json"
scripts/oci.py pack --output "$output" --name "tallyd:$(version)" --config "$work/config.json" \
    --epoch "$(commit_time)" "${layers[@]}"
du -h --apparent-size "$output"
