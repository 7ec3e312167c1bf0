# SPDX-License-Identifier: Apache-2.0
"""A DataLoader's workers, which are forked, beside an offloaded layer."""

import subprocess
import sys

_PROGRAM = """
import sys
import torch
from attention_client import AttentionClient, ForwardRequest
from attention_client.torch import RemoteMultiheadAttention

torch.set_num_threads(1)
layer = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
remote = RemoteMultiheadAttention(layer, sys.argv[1])
data = torch.rand(8, 2, 5, 16)

def compare(x):
    with torch.no_grad():
        torch.testing.assert_close(remote(x, x, x)[0], layer(x, x, x)[0])

class Remote(torch.utils.data.Dataset):
    def __len__(self):
        return len(data)

    def __getitem__(self, index):
        with torch.no_grad():
            return remote(data[index], data[index], data[index])[0]

compare(data[0])
for epoch in range(2):
    for x in torch.utils.data.DataLoader(data, batch_size=None, num_workers=2):
        compare(x)
for x, y in zip(data, torch.utils.data.DataLoader(
        Remote(), batch_size=None, num_workers=1, multiprocessing_context="fork")):
    torch.testing.assert_close(y, layer(x, x, x)[0].detach())

def requests():
    for x in torch.utils.data.DataLoader(data, batch_size=None, num_workers=1):
        yield ForwardRequest(remote.module_name, x)

for x, result in zip(data, remote.client.forward_many(requests())):
    torch.testing.assert_close(result.output, layer(x, x, x)[0].detach())
print("done")
"""


def test_workers_beside_and_inside_calls(address):
    path = "; ".join(f"sys.path.append({p!r})" for p in sys.path if p)
    command = [sys.executable, "-c", f"import sys; {path}\n{_PROGRAM}", address]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False
    )

    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
