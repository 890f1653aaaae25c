"""Runs pip as if on the machine that the packages are for.

pip chooses wheels by --python-version and --platform, but evaluates markers such as `python_version < "3.9"` with the
interpreter that it runs in. Arguments: Python's version there, the machine, then pip's own.
"""

import runpy
import sys

version, machine = sys.argv[1:3]
del sys.argv[1:3]

from pip._vendor.packaging import markers  # noqa: E402

here = markers.default_environment


def there(*arguments, **options):
    minor = ".".join(version.split(".")[:2])
    full = version if version.count(".") > 1 else minor + ".0"
    return {
        **here(*arguments, **options),
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": full,
        "python_version": minor,
        "sys_platform": "linux",
    }


markers.default_environment = there
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
