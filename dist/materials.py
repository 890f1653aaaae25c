"""materials.py sbom|provenance: the bill of materials (SPDX 2.3) or the provenance (SLSA v1) of a release, on standard output.

Both follow from the source alone: the same commit has the same documents. Called by dist/pack, which says what it packs in
variables: VERSION, COMMIT, MODIFIED, EPOCH, TARGETS.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time

# The command, and the program that it carries for invocation images.
ROOTS = ["samebundle-cli", "samebundle-runner"]


def said(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(targets):
    """The packages that are compiled for the command, as (name, version)."""
    found = set()
    for root in ROOTS:
        for target in targets:
            tree = said("cargo", "tree", "--locked", "--offline", "--package", root, "--edges", "normal,build",
                        "--prefix", "none", "--format", "{p}", "--target", target)
            found.update(tuple(line.split()[:2]) for line in tree.splitlines() if line)
    return {(name, version.removeprefix("v")) for name, version in found}


def checksums():
    """The SHA-256 of each package's archive, from Cargo.lock."""
    with open("Cargo.lock", encoding="utf-8") as lock:
        blocks = lock.read().split("[[package]]")
    fields = [dict(re.findall(r'^(\w+) = "(.*)"$', block, re.M)) for block in blocks[1:]]
    return {(block["name"], block["version"]): block.get("checksum") for block in fields}


def glibc():
    return said("getconf", "GNU_LIBC_VERSION").split()[-1]


def rust():
    return dict(re.findall(r"^(release|commit-hash): (.*)$", said("rustc", "-vV"), re.M))


def package(name, version, license, locator=None, checksum=None):
    entry = {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{name}-{version}"),
        "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": license, "copyrightText": "NOASSERTION",
    }
    if locator:
        entry["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}]
    if checksum:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
    return entry


def sbom():
    version, targets = os.environ["VERSION"], os.environ["TARGETS"].split()
    wanted = linked(targets)
    platforms = [word for target in targets for word in ("--filter-platform", target)]
    metadata = json.loads(said("cargo", "metadata", "--locked", "--offline", "--format-version", "1", *platforms))
    known = {one["id"]: one for one in metadata["packages"] if (one["name"], one["version"]) in wanted}
    sums = checksums()
    packages = {}
    for identity, one in known.items():
        # Cargo still takes the old form `MIT/Apache-2.0`.
        license = (one["license"] or "NOASSERTION").replace("/", " OR ")
        name, of = one["name"], one["version"]
        locator = f"pkg:cargo/{name}@{of.replace('+', '%2B')}" if one["source"] else None
        packages[identity] = package(name, of, license, locator, sums.get((name, of)))
    top = package("samebundle", version, "Apache-2.0")
    libraries = [
        package("glibc", glibc(), "LGPL-2.1-or-later", f"pkg:generic/glibc@{glibc()}"),
        package("rust-std", rust()["release"], "MIT OR Apache-2.0", f"pkg:generic/rust@{rust()['release']}"),
    ]
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", top["SPDXID"])]
    relations += [(top["SPDXID"], "CONTAINS", library["SPDXID"]) for library in libraries]
    for identity, entry in packages.items():
        if entry["name"] in ROOTS:
            relations.append((top["SPDXID"], "CONTAINS", entry["SPDXID"]))
    for node in metadata["resolve"]["nodes"]:
        if node["id"] not in packages:
            continue
        for edge in node["deps"]:
            kinds = {kind["kind"] for kind in edge["dep_kinds"]}
            if edge["pkg"] in packages and kinds != {"dev"}:
                relations.append((packages[node["id"]]["SPDXID"], "DEPENDS_ON", packages[edge["pkg"]]["SPDXID"]))
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["EPOCH"])))
    return {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"samebundle-{version}",
        "documentNamespace": f"https://samebundle.dev/spdx/samebundle-{version}-{os.environ['COMMIT']}",
        "creationInfo": {"created": created, "creators": ["Tool: samebundle-dist"]},
        "packages": [top, *libraries, *sorted(packages.values(), key=lambda entry: entry["SPDXID"])],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in sorted(set(relations))
        ],
    }


def provenance():
    with open("Cargo.lock", "rb") as lock:
        locked = hashlib.sha256(lock.read()).hexdigest()
    compiler = rust()
    return {
        "buildDefinition": {
            "buildType": "https://samebundle.dev/dist/v1",
            "externalParameters": {
                "version": os.environ["VERSION"], "targets": os.environ["TARGETS"].split(),
                "modified": os.environ["MODIFIED"] == "yes",
            },
            "internalParameters": {"sourceDateEpoch": int(os.environ["EPOCH"])},
            "resolvedDependencies": [
                {"name": "source", "digest": {"gitCommit": os.environ["COMMIT"]}},
                {"name": "Cargo.lock", "digest": {"sha256": locked}},
                {"name": f"rust {compiler['release']}", "digest": {"gitCommit": compiler["commit-hash"]}},
                {"name": f"glibc {glibc()}"},
            ],
        },
        "runDetails": {"builder": {"id": "https://samebundle.dev/builder"}},
    }


json.dump({"sbom": sbom, "provenance": provenance}[sys.argv[1]](), sys.stdout, indent=1, sort_keys=True)
print()
