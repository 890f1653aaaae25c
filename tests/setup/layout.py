#!/usr/bin/env python3
"""Write a root file system as an OCI image layout, the same bytes for the same content.

    layout.py ROOT.tar OUT-DIR NAME [ENV=VALUE...]

One gzip layer: entries sorted by name, owners as numbers, times zero, no device nodes (a runtime makes its own /dev),
no leading "./". The config has PATH and the given environment. NAME becomes the annotation
org.opencontainers.image.ref.name.
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile


def layer(source):
    """The layer's tar, uncompressed, from another tar."""
    out = io.BytesIO()
    with tarfile.open(source) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new:
        for entry in sorted(old.getmembers(), key=lambda e: e.name):
            entry.name = entry.name.removeprefix("./")
            if entry.name in ("", ".") or entry.ischr() or entry.isblk() or entry.isfifo():
                continue
            if entry.islnk():
                entry.linkname = entry.linkname.removeprefix("./")
            entry.mtime, entry.uname, entry.gname, entry.pax_headers = 0, "", "", {}
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
    return out.getvalue()


def put(folder, data, media_type, **more):
    """Write a blob; return its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(folder, "blobs", "sha256", digest), "wb") as file:
        file.write(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}


def encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main():
    source, folder, name, *env = sys.argv[1:]
    os.makedirs(os.path.join(folder, "blobs", "sha256"))
    tar = layer(source)
    oci = "application/vnd.oci.image."
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *env],
            "Cmd": ["/bin/sh"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci + "manifest.v1+json",
        "config": put(folder, encode(config), oci + "config.v1+json"),
        "layers": [put(folder, gzip.compress(tar, 6, mtime=0), oci + "layer.v1.tar+gzip")],
    }
    top = put(
        folder,
        encode(manifest),
        oci + "manifest.v1+json",
        annotations={"org.opencontainers.image.ref.name": name},
        platform={"architecture": "amd64", "os": "linux"},
    )
    with open(os.path.join(folder, "index.json"), "wb") as file:
        file.write(encode({"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": [top]}))
    with open(os.path.join(folder, "oci-layout"), "wb") as file:
        file.write(encode({"imageLayoutVersion": "1.0.0"}))


main()
