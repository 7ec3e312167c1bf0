# SPDX-License-Identifier: Apache-2.0
"""Build the Python package and install it: make_package.py FOLDER.

FOLDER gets sdist/, wheel/, and two virtual environments with the system's packages:
venv/ with the wheel, editable/ with the package as a developer installs it. Nothing
comes from the network. The wheel is built from the source distribution, so both are
known to be whole, and the sources stay clean.
"""

import pathlib
import shutil
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Whatever pip is told elsewhere has no say here.
_LOCAL = [
    "--isolated",
    "--no-index",
    "--no-deps",
    "--disable-pip-version-check",
    "--quiet",
]


def run(*command, cwd=None):
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def copy_sources(folder):
    """What the package is built from, as it lies in the repository."""
    ignored = shutil.ignore_patterns("build", "*.egg-info", "_generated", "__pycache__")
    package = folder / "client/python"
    shutil.copytree(ROOT / "client/python", package, ignore=ignored)
    shutil.copytree(ROOT / "proto/attention", folder / "proto/attention")
    shutil.copy(ROOT / "CMakeLists.txt", folder)
    return package


def make_sdist(source, folder):
    """By the package's own build backend, as pip would."""
    folder.mkdir()
    program = f"import attention_build; attention_build.build_sdist({str(folder)!r})"
    sys_path = f"import sys; sys.path.insert(0, {str(source / 'build_backend')!r}); "
    run(sys.executable, "-c", sys_path + program, cwd=source)
    return next(folder.glob("attention_client-*.tar.gz"))


def make_environment(folder, *package):
    """A virtual environment with the system's packages and this one."""
    venv.create(folder, system_site_packages=True, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    run(*pip, "install", *_LOCAL, "--force-reinstall", *package)


def main():
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = copy_sources(folder / "source")
    sdist = make_sdist(source, folder / "sdist")
    wheels = ["--no-build-isolation", "--wheel-dir", folder / "wheel"]
    run(sys.executable, "-m", "pip", "wheel", *_LOCAL, *wheels, sdist)
    make_environment(
        folder / "venv", next((folder / "wheel").glob("attention_client-*.whl"))
    )
    make_environment(folder / "editable", "--no-build-isolation", "--editable", source)


if __name__ == "__main__":
    main()
