# SPDX-License-Identifier: Apache-2.0
"""What Prometheus and Grafana make of a real server's metrics: metrics_live_test.py BIN_DIR MONITORING_DIR."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import yaml
from prometheus_client.parser import text_string_to_metric_families

BIN, MONITORING = (pathlib.Path(argument) for argument in sys.argv[1:3])
del sys.argv[1:3]
MODULE = "batch_first"  # (64, 2, batch_first=True), one of the demo's modules
NAME = re.compile(r"\b(?:attention|process)_[a-z_]+")


def dashboard():
    return json.loads((MONITORING / "grafana/dashboards/attention.json").read_text())


def expressions():
    """Every query of the dashboard, with values for Grafana's variables."""
    queries = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    for variable in dashboard()["templating"]["list"]:
        query = variable["query"]
        if isinstance(query, dict):
            queries.append(re.fullmatch(r"label_values\((.*), \w+\)", query["query"])[1])
    for name, value in (("$__rate_interval", "1m"), ("$instance", ".*"), ("$module", ".*")):
        queries = [query.replace(name, value) for query in queries]
    return queries


def promtool(*arguments, text=""):
    result = subprocess.run(
        ["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120
    )
    return result.returncode, result.stdout + result.stderr


class MetricsLiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        subprocess.run([BIN / "make-demo-modules", cls.folder], check=True, capture_output=True)
        cls.server = subprocess.Popen(
            [BIN / "attention-server", "--listen", "127.0.0.1:0", "--metrics-listen", "0"]
            + ["--modules", cls.folder / "modules", "--load", "all"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        cls.metrics = cls.target = None
        for line in cls.server.stdout:
            if found := re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", line):
                cls.metrics = found[1]
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                cls.target = found[1]
                break
        assert cls.metrics and cls.target, "the server did not start"
        cls.page = cls.scrape_after_traffic()

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        cls.server.communicate(timeout=60)
        cls.scratch.cleanup()
        assert cls.server.returncode == 0, cls.server.returncode

    @classmethod
    def client(cls, *arguments):
        command = [BIN / "attention-client", "--target", cls.target, *arguments]
        return subprocess.run(command, capture_output=True, timeout=120).returncode

    @classmethod
    def scrape_after_traffic(cls):
        """A page that has something of everything."""
        assert cls.client("forward", MODULE, "--random", "1,5,64") == 0
        assert cls.client("forward", "unknown", "--random", "1,5,64") == 1
        assert cls.client("modules", "list") == 0
        while True:  # a page is up to a quarter of a second old
            page = cls.read()
            if "ModuleService/ListModules" in page:
                return page

    @classmethod
    def read(cls):
        with urllib.request.urlopen(cls.metrics, timeout=60) as answer:
            return answer.read().decode()

    def families(self):
        return {family.name: family for family in text_string_to_metric_families(self.page)}

    def test_promtool_finds_nothing_wrong(self):
        self.assertEqual(promtool("check", "metrics", text=self.page), (0, ""))

    def test_another_parser_reads_what_was_counted(self):
        requests = {
            (sample.labels["module"], sample.labels["code"]): sample.value
            for sample in self.families()["attention_requests"].samples
        }

        self.assertEqual(requests[MODULE, "OK"], 1)
        self.assertEqual(requests["other", "NOT_FOUND"], 1)
        self.assertEqual(requests["", "OK"], 1)

    def test_names_tell_whose_and_what(self):
        for name in self.families():
            self.assertRegex(name, r"^(attention|process)_")

    def test_version_is_the_programs(self):
        (build,) = self.families()["attention_build_info"].samples
        version = subprocess.check_output([BIN / "attention-server", "--version"], text=True)

        self.assertIn(f"attention-server {build.labels['version']}\n", version)
        self.assertIn(build.labels["isa"], version)
        self.assertRegex(build.labels["onednn"], r"^\d+\.\d+\.\d+$")

    def test_dashboard_asks_for_what_there_is(self):
        samples = {sample.name for family in self.families().values() for sample in family.samples}

        named = {name for expression in expressions() for name in NAME.findall(expression)}

        self.assertGreater(len(named), 10)
        self.assertEqual(named - samples, set())

    def test_dashboard_shows_every_metric_of_ours(self):
        # Those that are for alerts, and streams, whose requests are shown.
        elsewhere = {"attention_modules_limit_bytes", "attention_streams",
                     "attention_predicted_wait_seconds",
                     "attention_prediction_error_ratio"}
        asked = " ".join(expressions())

        for name in self.families():
            if name.startswith("attention_") and name not in elsewhere:
                self.assertIn(name, asked)

    def test_dashboard_asks_in_promql(self):
        rules = self.folder / "rules.yml"
        rules.write_text(
            yaml.safe_dump(
                {
                    "groups": [
                        {
                            "name": "dashboard",
                            "rules": [
                                {"record": f"panel:{number}", "expr": expression}
                                for number, expression in enumerate(expressions())
                            ],
                        }
                    ]
                }
            )
        )

        code, text = promtool("check", "rules", rules)

        self.assertEqual(code, 0, text)

    def test_panels_do_not_overlap(self):
        taken = set()
        for panel in dashboard()["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertLess(x, 24, panel["title"])
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken.add((x, y))

    def test_prometheus_takes_its_configuration(self):
        code, text = promtool("check", "config", MONITORING / "prometheus.yml")

        self.assertEqual(code, 0, text)


class ComposeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.services = yaml.safe_load((MONITORING.parent / "compose.yaml").read_text())["services"]

    def test_server_alone_is_started_by_default(self):
        started = [name for name, service in self.services.items() if "profiles" not in service]

        self.assertEqual(started, ["server"])

    def test_every_port_is_on_loopback(self):
        for service in self.services.values():
            for port in service["ports"]:
                self.assertRegex(port, r"^127\.0\.0\.1:")

    def test_mounted_files_are_there_and_read_only(self):
        mounted = [
            volume
            for service in self.services.values()
            for volume in service["volumes"]
            if volume.startswith(".")
        ]

        self.assertEqual(len(mounted), 3)
        for volume in mounted:
            source, _, mode = volume.split(":")
            self.assertTrue((MONITORING.parent / source).exists(), volume)
            self.assertEqual(mode, "ro")

    def test_who_looks_and_who_is_looked_at_agree(self):
        listen = self.services["server"]["environment"]["ATTENTION_METRICS_LISTEN"]
        (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
        (source,) = yaml.safe_load((MONITORING / "grafana/datasources/prometheus.yml").read_text())["datasources"]
        (chosen,) = [v for v in dashboard()["templating"]["list"] if v["type"] == "datasource"]

        self.assertEqual(job["static_configs"], [{"targets": ["server:" + listen.split(":")[1]]}])
        self.assertEqual(source["url"], "http://prometheus:9090")
        self.assertEqual(source["uid"], chosen["current"]["value"])


if __name__ == "__main__":
    unittest.main()
