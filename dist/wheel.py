"""wheel.py BINARY VERSION ARCH EPOCH LICENSE README DIR: packs the command as a wheel, the same bytes each time.

`samebundle` is the program itself. `same` is a few lines of Python that start it by that name, because a wheel has no links.
"""

import base64
import hashlib
import os
import sys
import time
import zipfile

# A static program needs no C library; the tags name the oldest systems that pip knows for each architecture.
PLATFORMS = {
    "x86_64": "manylinux_2_12_x86_64.manylinux2010_x86_64.musllinux_1_1_x86_64",
    "aarch64": "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
}

START = '''"""Starts the samebundle program that was installed with this package."""

import os
import sys
import sysconfig


def program():
    folders = [os.path.dirname(os.path.realpath(sys.argv[0])), os.path.dirname(os.path.abspath(sys.argv[0]))]
    folders.append(sysconfig.get_path("scripts"))
    folders.append(sysconfig.get_path("scripts", f"{os.name}_user"))
    # `pip install --target DIR` puts programs into DIR/bin.
    folders.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin"))
    for folder in folders:
        path = os.path.join(folder, "samebundle")
        if os.access(path, os.X_OK):
            return path
    sys.exit("same: the program samebundle was not installed with this package; install it again: pip install --force-reinstall samebundle")


def main():
    path = program()
    os.execv(path, ["same", *sys.argv[1:]])


if __name__ == "__main__":
    main()
'''

METADATA = """Metadata-Version: 2.1
Name: samebundle
Version: {version}
Summary: Pack, sign, move and run machine-learning programs as one bundle
License: Apache-2.0
Keywords: kubeflow,pipelines,oci,cnab,reproducibility
Classifier: Environment :: Console
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Operating System :: POSIX :: Linux
Requires-Python: >=3.8
Description-Content-Type: text/markdown

{readme}"""


def main():
    binary, version, arch, epoch, license, readme, folder = sys.argv[1:]
    tag = f"py3-none-{PLATFORMS[arch]}"
    text = {name: open(path, encoding="utf-8").read() for name, path in [("license", license), ("readme", readme)]}
    info = f"samebundle-{version}.dist-info"
    start = START.encode()
    files = [
        ("samebundle/__init__.py", f'"""The samebundle command; `python -m samebundle` starts it."""\n\n__version__ = "{version}"\n'.encode(), 0o644),
        ("samebundle/__main__.py", start, 0o644),
        (f"samebundle-{version}.data/scripts/samebundle", open(binary, "rb").read(), 0o755),
        (f"{info}/METADATA", METADATA.format(version=version, readme=text["readme"]).encode(), 0o644),
        (f"{info}/WHEEL", ("Wheel-Version: 1.0\nGenerator: samebundle-dist\nRoot-Is-Purelib: false\n"
                           + "".join(f"Tag: py3-none-{one}\n" for one in PLATFORMS[arch].split("."))).encode(), 0o644),
        (f"{info}/entry_points.txt", b"[console_scripts]\nsame = samebundle.__main__:main\n", 0o644),
        (f"{info}/licenses/LICENSE", text["license"].encode(), 0o644),
    ]
    lines = [f"{name},sha256={digest(data)},{len(data)}\n" for name, data, _ in files]
    files.append((f"{info}/RECORD", ("".join(lines) + f"{info}/RECORD,,\n").encode(), 0o644))
    # ZIP has no time before 1980, and two seconds are its unit.
    when = time.gmtime(max(int(epoch), 315532800))[:6]
    with zipfile.ZipFile(os.path.join(folder, f"samebundle-{version}-{tag}.whl"), "w") as wheel:
        for name, data, mode in files:
            entry = zipfile.ZipInfo(name, when)
            entry.external_attr = (0o100000 | mode) << 16
            entry.create_system = 3
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED, int(os.environ.get("LEVEL", "9")))


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


main()
