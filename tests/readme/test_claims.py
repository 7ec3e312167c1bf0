# SPDX-License-Identifier: Apache-2.0
"""What the Markdown files say of commands and options is what the programs say."""

import dataclasses
import re
import subprocess

import pytest
import readme

from attention_client import ForwardRequest

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1}


def output(*command):
    return subprocess.check_output([str(part) for part in command], text=True)


def text_of(file):
    return (readme.ROOT / file).read_text()


@pytest.fixture(scope="module")
def dev_commands():
    return set(re.findall(r"^  ([a-z][a-z-]*) ", output(readme.ROOT / "dev", "--help"), re.M))


@pytest.fixture(scope="module")
def server_options(programs):
    """(default, environment variable) by flag, from --help."""
    options = {}
    text = output(programs / "attention-server", "--help")
    for line in re.findall(r"^  (--.*\(Env:.*\))$", text, re.M):
        flag, rest, variable = re.fullmatch(r"(--[a-z-]+)(.*)\(Env:(\w+)\)", line).groups()
        defaults = re.findall(r"\[([^\[\]]*)\]", rest)
        options[flag] = ("".join(defaults), variable)
    assert len(options) > 10
    return options


def rows_of_options():
    """(flag, default) of the table under "Operating it", in its own words."""
    section = text_of("README.md").split("## Operating it")[1].split("\n## ")[0]
    for row in re.findall(r"^\| (`--.*?) \| (.*?) \|", section, re.M):
        flags, defaults = (cell.split(", ") for cell in row)
        yield from zip((flag.strip("`") for flag in flags), defaults)


def as_the_server_says(default):
    """A cell's default as --help prints it; a pattern where the machine decides."""
    if default in ("none", "off"):
        return ""
    if default.startswith("`"):
        return re.escape(default.strip("`"))
    if found := re.fullmatch(r"(\d+) (\w+)", default):
        return str(int(found[1]) * UNITS[found[2]])
    assert " of the container" in default, default
    return r"\d+"


def test_table_of_options_has_every_flag_and_its_default(server_options):
    rows = dict(rows_of_options())

    assert set(rows) == set(server_options)
    for flag, default in rows.items():
        assert re.fullmatch(as_the_server_says(default), server_options[flag][0]), flag


def test_variables_are_named_as_printed(server_options):
    for flag, (_, variable) in server_options.items():
        assert variable == "ATTENTION" + flag.upper().replace("-", "_")[1:]


def test_python_readme_names_every_option_of_forward():
    row = re.search(r"^\| `forward\(.*?\)` \| `(.*?)` \|$", text_of("client/python/README.md"), re.M)
    fields = {field.name for field in dataclasses.fields(ForwardRequest)}

    assert set(row[1].split()) == fields - {"module", "query", "key", "value"} | {"timeout"}


@pytest.mark.parametrize(
    "file",
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", "client/README.md", "docker/Dockerfile"],
)
def test_every_command_of_dev_exists(file, dev_commands):
    named = set(re.findall(r"\./dev ([a-z][a-z-]*)", text_of(file)))

    assert named and named <= dev_commands


def test_readme_lists_every_command_of_dev(dev_commands):
    listed = re.search(r"lists the rest:\s`([a-z -]*)`", text_of("README.md"))[1]

    assert set(listed.split()) == dev_commands - {"demo", "test"}


@pytest.mark.parametrize(
    "file", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "client/README.md"]
)
def test_links_lead_to_files(file):
    folder = (readme.ROOT / file).parent
    code = re.compile(r"^```.*?^```$", re.M | re.S)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", code.sub("", text_of(file)))

    assert [link for link in links if not (folder / link).exists()] == []
