#!/usr/bin/env python3
"""Packs folders into an OCI image for several platforms, as a tar file, and unpacks one platform of it.

  oci.py pack --output FILE --name NAME:TAG --config FILE --epoch SECONDS --layer PLATFORM=FOLDER...
  oci.py unpack --image FILE --platform PLATFORM --into FOLDER

`pack` makes one layer of each FOLDER, in this order, such as --layer linux/amd64=base --layer linux/amd64=program.
The output depends only on the contents of the folders and on the arguments. The configuration file has the keys `config`
(as in the OCI image configuration) and `owners` (paths and user IDs); all other files belong to root. `unpack` follows the index and the manifests, verifies every digest, and prints the image's configuration.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import stat
import sys
import tarfile
import time

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(name, size, mode, epoch, kind=tarfile.REGTYPE, owner=0):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.type = size, mode, epoch, kind
    info.uid = info.gid = owner
    return info


def layer(folder, owners, epoch):
    """Returns the folder as a tar file: sorted, with the same time for every file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            mode = stat.S_IMODE(path.lstat().st_mode)
            owner = owners.get(f"/{name}", 0)
            if path.is_symlink():
                link = entry(name, 0, 0o777, epoch, tarfile.SYMTYPE, owner)
                link.linkname = str(path.readlink())
                tar.addfile(link)
            elif path.is_dir():
                tar.addfile(entry(name, 0, mode, epoch, tarfile.DIRTYPE, owner))
            else:
                data = path.read_bytes()
                tar.addfile(entry(name, len(data), mode, epoch, owner=owner), io.BytesIO(data))
    return buffer.getvalue()


class Blobs:
    """The contents of an image by their digests."""

    def __init__(self):
        self.contents = {}

    def add(self, media_type, data, **more):
        """Returns the descriptor of the data."""
        if not isinstance(data, bytes):
            data = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.contents[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}


def manifest(blobs, platform, folders, settings, epoch):
    """Adds one platform, and returns the descriptor of its manifest."""
    system, architecture = platform.split("/")
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    layers, differences, history = [], [], []
    for folder in folders:
        data = layer(folder, settings["owners"], epoch)
        differences.append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        layers.append(blobs.add(LAYER, gzip.compress(data, 9, mtime=0)))
        history.append({"created": created, "created_by": f"scripts/image.sh: {folder.name}"})
    image = {
        "created": created,
        "architecture": architecture,
        "os": system,
        "config": settings["config"],
        "rootfs": {"type": "layers", "diff_ids": differences},
        "history": history,
    }
    labels = settings["config"].get("Labels", {})
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blobs.add(CONFIG, image),
        "layers": layers,
        "annotations": labels,
    }
    return blobs.add(MANIFEST, content, platform={"os": system, "architecture": architecture})


def pack(arguments):
    settings = json.loads(arguments.config.read_text())
    folders = {}
    for layer_argument in arguments.layer:
        platform, folder = layer_argument.split("=", 1)
        folders.setdefault(platform, []).append(pathlib.Path(folder))
    blobs = Blobs()
    manifests = [manifest(blobs, platform, these, settings, arguments.epoch)
                 for platform, these in sorted(folders.items())]
    labels = settings["config"].get("Labels", {})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": labels}
    # The two names that container engines read.
    names = {"org.opencontainers.image.ref.name": arguments.name.rsplit(":", 1)[-1],
             "io.containerd.image.name": f"docker.io/library/{arguments.name}"}
    top = {"schemaVersion": 2, "mediaType": INDEX,
           "manifests": [blobs.add(INDEX, index, annotations=names)]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
             "index.json": json.dumps(top, sort_keys=True).encode()}
    files |= {f"blobs/sha256/{digest}": data for digest, data in blobs.contents.items()}
    with tarfile.open(arguments.output, "w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            tar.addfile(entry(folder, 0, 0o755, arguments.epoch, tarfile.DIRTYPE))
        for name, data in sorted(files.items()):
            tar.addfile(entry(name, len(data), 0o644, arguments.epoch), io.BytesIO(data))
    for platform, these in zip(sorted(folders), manifests):
        content = json.loads(blobs.contents[these["digest"].removeprefix("sha256:")])
        compressed = sum(part["size"] for part in content["layers"])
        print(f"{platform}: {compressed / 1e6:.1f} MB compressed, {len(content['layers'])} layers")


def blob(tar, descriptor):
    """Returns the content of a descriptor, if it has the right digest."""
    data = tar.extractfile(f"blobs/{descriptor['digest'].replace(':', '/')}").read()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != descriptor["digest"]:
        sys.exit(f"{descriptor['digest']}: the content has another digest")
    return data


def unpack(arguments):
    system, architecture = arguments.platform.split("/")
    with tarfile.open(arguments.image) as tar:
        top = json.load(tar.extractfile("index.json"))
        index = json.loads(blob(tar, top["manifests"][0]))
        wanted = {"os": system, "architecture": architecture}
        found = [part for part in index["manifests"] if part["platform"] == wanted]
        if len(found) != 1:
            sys.exit(f"{arguments.image} has {len(found)} manifests for {arguments.platform}")
        content = json.loads(blob(tar, found[0]))
        image = json.loads(blob(tar, content["config"]))
        for part, difference in zip(content["layers"], image["rootfs"]["diff_ids"], strict=True):
            data = gzip.decompress(blob(tar, part))
            if f"sha256:{hashlib.sha256(data).hexdigest()}" != difference:
                sys.exit(f"{part['digest']}: the layer is not {difference}")
            with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                # The image is ours: keep owners and permissions, as the default of older versions does.
                inner.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
                inner.extractall(arguments.into)
    json.dump(image, sys.stdout, indent=2)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.set_defaults(run=pack)
    packing.add_argument("--output", required=True)
    packing.add_argument("--name", required=True)
    packing.add_argument("--config", type=pathlib.Path, required=True)
    packing.add_argument("--epoch", type=int, required=True)
    packing.add_argument("--layer", action="append", required=True)
    unpacking = commands.add_parser("unpack")
    unpacking.set_defaults(run=unpack)
    unpacking.add_argument("--image", required=True)
    unpacking.add_argument("--platform", required=True)
    unpacking.add_argument("--into", required=True)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
