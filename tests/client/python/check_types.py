# SPDX-License-Identifier: Apache-2.0
"""Check the installed package's type hints by mypy: check_types.py FOLDER.

FOLDER is what make_package.py made. The package is looked at where it is installed,
with the configuration in client/python/pyproject.toml.
"""

import pathlib
import sys

from mypy import api

ROOT = pathlib.Path(__file__).resolve().parents[3]


def main():
    folder = pathlib.Path(sys.argv[1])
    package = next(folder.glob("venv/lib/python*/site-packages/attention_client"))
    report, errors, code = api.run(
        [
            f"--config-file={ROOT / 'client/python/pyproject.toml'}",
            # Outlives the folder, which every run makes anew.
            f"--cache-dir={folder.parent / 'mypy'}",
            str(package),
        ]
    )
    print(report, errors)
    return code


sys.exit(main())
