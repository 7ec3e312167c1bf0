# SPDX-License-Identifier: Apache-2.0
"""Write the C++ program in README.md, calling its argument: write_example.py FILE."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "client/python"))
import readme  # noqa: E402  (found by the line above)


def main():
    (program,) = readme.code_blocks("README.md", "cpp", readme.ADDRESS)
    for printed, called in (
        ("int main()", "int main(int, char** argv)"),
        (f'"{readme.ADDRESS}"', "argv[1]"),
    ):
        assert program.count(printed) == 1, f"expected {printed} once in:\n{program}"
        program = program.replace(printed, called)
    pathlib.Path(sys.argv[1]).write_text(program)


main()
