# SPDX-License-Identifier: Apache-2.0
"""The real attention-server as a process."""

import re
import signal
import subprocess
import threading

_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


class AttentionServer:
    """Runs the server on a free loopback port while the context lasts."""

    def __init__(self, binary, *options):
        self._command = [binary, "--listen", "127.0.0.1:0", *options]
        self._log = []

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.address = self._wait_for_address()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        if code != 0:
            log = "".join(self._log[-50:])
            raise RuntimeError(f"server exited with {code}; its log:\n{log}")

    def _wait_for_address(self):
        for line in self._process.stdout:
            self._log.append(line)
            if found := _LISTENING.search(line):
                return found[1]
        code = self._process.wait()
        log = "".join(self._log)
        raise RuntimeError(f"server exited with {code} at start; its log:\n{log}")

    def _read_log(self):
        self._log.extend(self._process.stdout)
