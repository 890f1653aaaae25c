#!/usr/bin/env python3
"""Write layers as one image that Docker and containerd load: an OCI image layout that is a Docker archive as well.

    image.py OUT-DIR NAME CONFIG-JSON [--on BASE-DIR] [LAYER.tar...]

The layers stay uncompressed, and those of BASE-DIR are hard links where the file system allows. CONFIG-JSON has the fields
of an image's `config` (Entrypoint, Env ...); what it does not say is taken from the base. `tar -C OUT-DIR -c . | docker load`.
"""
import hashlib
import json
import os
import shutil
import sys

OCI = "application/vnd.oci.image."


def blob(folder, digest):
    return os.path.join(folder, "blobs", "sha256", digest)


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def take(folder, path):
    """Take a file into the layout, by link or copy; return its digest and size."""
    digest = digest_of(path)
    try:
        os.link(path, blob(folder, digest))
    except OSError:
        shutil.copyfile(path, blob(folder, digest))
    return digest, os.path.getsize(path)


def put(folder, value):
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(blob(folder, digest), "wb") as file:
        file.write(data)
    return digest, len(data)


def descriptor(kind, blob_of, **more):
    return {"mediaType": OCI + kind, "digest": f"sha256:{blob_of[0]}", "size": blob_of[1], **more}


def write(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)


def main():
    folder, name, config, *rest = sys.argv[1:]
    paths, settings = [], {}
    if rest[:1] == ["--on"]:
        base = rest[1]
        rest = rest[2:]
        with open(os.path.join(base, "manifest.json"), encoding="utf-8") as file:
            below = json.load(file)[0]
        paths = [os.path.join(base, path) for path in below["Layers"]]
        with open(os.path.join(base, below["Config"]), encoding="utf-8") as file:
            settings = json.load(file)["config"]
    settings.update(json.loads(config))
    os.makedirs(os.path.join(folder, "blobs", "sha256"))
    layers = [take(folder, path) for path in paths + rest]
    top = put(folder, {
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest, _ in layers]},
    })
    manifest = put(folder, {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": descriptor("config.v1+json", top),
        "layers": [descriptor("layer.v1.tar", layer) for layer in layers],
    })
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = descriptor("manifest.v1+json", manifest, annotations=names, platform={"architecture": "amd64", "os": "linux"})
    write(folder, "index.json", {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [index]})
    write(folder, "oci-layout", {"imageLayoutVersion": "1.0.0"})
    relative = [f"blobs/sha256/{digest}" for digest, _ in [top, *layers]]
    write(folder, "manifest.json", [{"Config": relative[0], "RepoTags": [name], "Layers": relative[1:]}])


main()
