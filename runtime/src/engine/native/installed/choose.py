"""Chooses the wheels that pip would install for some lines, and says where Python keeps packages.

It runs in the task's image, with its own Python and the `packaging` that its pip carries, so versions, tags and markers mean
what they mean to that pip. It does not search: a folder of wheels was resolved when the bundle was built, so each
requirement has one best wheel. Whatever does not fit is said, and pip installs then. Input: JSON in the first argument, the
lines as pairs of requirements and whether dependencies are left out. Output: JSON in the file that the second names.
"""

import email.parser
import json
import os
import sys
import sysconfig
import zipfile
from importlib import metadata

WHEELS = "/samebundle/wheels"


class Unfit(Exception):
    pass


def choose(lines):
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename

    rank = {tag: number for number, tag in enumerate(sys_tags())}
    files = {}
    for file in sorted(os.listdir(WHEELS)):
        if not file.endswith(".whl"):
            raise Unfit(file + " is no wheel")
        name, version, build, tags = parse_wheel_filename(file)
        fits = [rank[tag] for tag in tags if tag in rank]
        if fits:
            files.setdefault(name, []).append((version, -min(fits), build, file))
    present = {canonicalize_name(d.metadata["Name"]): d for d in metadata.distributions() if d.metadata["Name"]}

    def read(file):
        with zipfile.ZipFile(os.path.join(WHEELS, file)) as archive:
            (name,) = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA")]
            message = email.parser.BytesParser().parsebytes(archive.read(name))
        return message.get_all("Requires-Dist") or [], message["Requires-Python"]

    chosen, needs, asked = {}, {}, set()

    def applies(requirement, extras):
        marker = requirement.marker
        return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or [""])

    def take(text, extras, no_deps):
        requirement = Requirement(text)
        if requirement.url:
            raise Unfit(text + " is a link")
        if not applies(requirement, extras):
            return
        name = canonicalize_name(requirement.name)
        matches = lambda version: requirement.specifier.contains(version, prereleases=True)
        if name in present:
            if not matches(present[name].version):
                raise Unfit("the image has another %s" % name)
            needs[name] = list(present[name].requires or [])
        elif name in chosen:
            if not matches(chosen[name][0]):
                raise Unfit("%s is asked for in two versions" % name)
        else:
            fitting = [one for one in files.get(name, []) if requirement.specifier.contains(one[0])]
            fitting = fitting or [one for one in files.get(name, []) if matches(one[0])]
            if not fitting:
                raise Unfit("no wheel fits %s" % text)
            chosen[name] = max(fitting)
            needs[name], python = read(chosen[name][3])
            if python and not Requirement("python" + python).specifier.contains(sys.version.split()[0].rstrip("+"), prereleases=True):
                raise Unfit("%s is for Python %s" % (name, python))
        key = (name, tuple(sorted(requirement.extras)), no_deps)
        if key in asked or no_deps:
            return
        asked.add(key)
        for need in needs[name]:
            take(need, requirement.extras, False)

    for requirements, no_deps in lines:
        for text in requirements:
            take(text, [], no_deps)
    return sorted(one[3] for one in chosen.values())


def places():
    paths = sysconfig.get_paths()
    for key in ("purelib", "platlib"):
        if os.path.realpath(paths[key]) not in [os.path.realpath(path) for path in sys.path]:
            raise Unfit("%s is not on Python's path" % paths[key])
    # A folder of a layer must not take the place of a link of the image.
    return {key: os.path.realpath(paths[key]) for key in ("purelib", "platlib", "scripts", "data", "include")}


def folders(paths):
    """The mode, user and group of the folders that the image has above and at those places."""
    found = {}
    for path in paths:
        while path != "/":
            if os.path.isdir(path):
                status = os.stat(path)
                found[path] = [status.st_mode & 0o7777, status.st_uid, status.st_gid]
            path = os.path.dirname(path)
    return found


def main():
    try:
        paths = places()
        answer = {
            "wheels": choose(json.loads(sys.argv[1])),
            "places": paths,
            "python": sys.executable,
            "folders": folders(paths.values()),
        }
    except Exception as error:
        answer = {"unfit": str(error) or type(error).__name__}
    with open(sys.argv[2], "w") as file:
        json.dump(answer, file)


main()
