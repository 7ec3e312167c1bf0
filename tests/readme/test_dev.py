# SPDX-License-Identifier: Apache-2.0
"""./dev and what it tells who mistypes."""

import subprocess

import pytest
import readme


@pytest.mark.parametrize(
    "typed, meant",
    [("tset", "test"), ("srve", "serve"), ("cleint", "client"), ("demo-module", "demo-modules")],
)
def test_a_mistyped_command_is_told_the_nearest(typed, meant):
    result = subprocess.run([readme.ROOT / "dev", typed], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"no command '{typed}'. Did you mean '{meant}'?" in result.stderr


@pytest.mark.parametrize("typed", ["", "xyzzy", "run_test", "help me"])
def test_what_resembles_no_command_is_refused(typed):
    result = subprocess.run([readme.ROOT / "dev", typed], capture_output=True, text=True)

    assert result.returncode == 2
    assert "Did you mean" not in result.stderr
    assert "--help" in result.stderr or "Usage" in result.stderr


def test_a_mistyped_preset_is_told_the_nearest():
    command = [readme.ROOT / "dev", "build", "--preset", "relaese"]
    result = subprocess.run(command, capture_output=True, text=True)

    assert result.returncode == 2
    assert "Did you mean 'release'?" in result.stderr


@pytest.mark.parametrize(
    "caller, works_in",
    [("/tmp", "/tmp"), ("/mnt", "/mnt"), ("/usr/share", "/checkout"), ("/", "/checkout"), ("/var", "/checkout")],
)
def test_works_where_it_is_called_unless_the_environment_has_that_itself(caller, works_in):
    script = "say() { :; }; . docker/dev/environment.sh; ROOT=/checkout; cd $0; working_directory"
    command = ["bash", "-euc", script, caller]

    assert subprocess.check_output(command, cwd=readme.ROOT, text=True).strip() == works_in


def test_two_that_hold_one_lock_wait_for_each_other(tmp_path):
    script = """
      . docker/dev/report.sh
      both() { echo begin; sleep 0.2; echo end; }
      with_lock "$0/folder/lock" both & with_lock "$0/folder/lock" both; wait
    """
    command = ["bash", "-euc", script, tmp_path]
    result = subprocess.run(command, cwd=readme.ROOT, capture_output=True, text=True)

    assert result.stdout.split() == ["begin", "end"] * 2, result.stderr
