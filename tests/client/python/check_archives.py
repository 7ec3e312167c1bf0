# SPDX-License-Identifier: Apache-2.0
"""Check what is in the packages: check_archives.py FOLDER.

FOLDER is what make_package.py made.
"""

import email
import pathlib
import re
import subprocess
import sys
import tarfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = pathlib.Path(sys.argv.pop(1))
PROTOS = {path.name: path.read_bytes() for path in ROOT.glob("proto/attention/v1/*")}
LICENSE = (ROOT / "LICENSE").read_bytes()
PROJECT = r"project\(attention-server VERSION ([\d.]+)"
VERSION = re.search(PROJECT, (ROOT / "CMakeLists.txt").read_text())[1]


def only(pattern):
    (path,) = FOLDER.glob(pattern)
    return path


def wheel():
    """Content by name."""
    with zipfile.ZipFile(only("wheel/attention_client-*.whl")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sdist():
    """Content by name, without the folder all lies in."""
    with tarfile.open(only("sdist/attention_client-*.tar.gz")) as archive:
        return {
            member.name.split("/", 1)[1]: archive.extractfile(member).read()
            for member in archive.getmembers()
            if member.isfile()
        }


class Archives(unittest.TestCase):
    def metadata(self):
        name = f"attention_client-{VERSION}.dist-info/METADATA"
        yield "wheel", email.message_from_bytes(wheel()[name])
        yield "sdist", email.message_from_bytes(sdist()["PKG-INFO"])

    def test_version_is_the_servers(self):
        for kind, metadata in self.metadata():
            with self.subTest(kind):
                self.assertEqual(metadata["Version"], VERSION)

    def test_licence_is_inside(self):
        name = f"attention_client-{VERSION}.dist-info/licenses/LICENSE"
        self.assertEqual(wheel().get(name), LICENSE)
        self.assertEqual(sdist().get("LICENSE"), LICENSE)
        for kind, metadata in self.metadata():
            with self.subTest(kind):
                self.assertEqual(metadata["License-Expression"], "Apache-2.0")
                self.assertEqual(metadata["License-File"], "LICENSE")

    def test_urls_are_of_public_pages(self):
        for kind, metadata in self.metadata():
            with self.subTest(kind):
                urls = metadata.get_all("Project-URL")
                self.assertGreaterEqual(len(urls), 2)
                for url in urls:
                    self.assertRegex(url, r"^[^,]{1,32}, https://")

    def test_description_links_nothing_of_the_repository(self):
        for kind, metadata in self.metadata():
            with self.subTest(kind):
                text = re.sub(r"^```.*?^```$", "", metadata.get_payload(), flags=re.M | re.S)
                links = re.findall(r"\]\(([^)]*)\)", text)
                away = [link for link in links if not link.startswith("https://")]
                self.assertEqual(away, [])
                self.assertIn("# attention-client", text)

    def test_protos_are_inside(self):
        for name, content in PROTOS.items():
            file = f"attention/v1/{name}"
            with self.subTest(file):
                self.assertEqual(wheel().get(f"attention_client/proto/{file}"), content)
                self.assertEqual(sdist().get(f"proto/{file}"), content)

    def test_every_installation_tells_the_version(self):
        program = "import attention_client; print(attention_client.__version__)"
        for environment in ("venv", "editable"):
            with self.subTest(environment):
                python = FOLDER / environment / "bin/python"
                printed = subprocess.check_output([python, "-c", program], text=True)
                self.assertEqual(printed.strip(), VERSION)


if __name__ == "__main__":
    unittest.main(verbosity=2)
