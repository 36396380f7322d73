"""The recipe of the guide's chapter on deployment, by its steps and without Docker."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from test_cache import kernels_in

import fastgrad as fg

TEXT = (Path(fg.__file__).parent / "guide" / "deployment.md").read_text(encoding="utf-8")
MODEL, SERVICE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(DOCKERFILE,) = re.findall(r"```dockerfile\n(.*?)```", TEXT, re.DOTALL)
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines()]


def test_the_dockerfile_has_ten_lines_and_warms_before_it_gives_up_its_rights():
    assert len(STEPS) == 10
    words = [step[0] for step in STEPS]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert ["RUN", "python service.py warm"] in STEPS


def post(port, row):
    """(status, answer)."""
    request = urllib.request.Request(f"http://localhost:{port}", json.dumps(row).encode())
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:  # it is still starting
            time.sleep(0.1)
    raise AssertionError("no answer")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """(folder, environment) after the image's last RUN."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "service.py").write_text(SERVICE)
    place = os.getcwd()
    os.chdir(folder)
    try:
        exec(compile(MODEL, "deployment.md", "exec"), {})
    finally:
        os.chdir(place)
    (settings,) = (rest for word, rest in STEPS if word == "ENV")
    settings = dict(pair.split("=") for pair in settings.replace("/app", str(folder)).split())
    environment = {**os.environ, "PYTHONWARNINGS": "error", **settings}
    warm = [sys.executable, "service.py", "warm"]
    subprocess.run(warm, cwd=folder, env=environment, check=True, timeout=170)
    return folder, environment


def test_a_row_is_predicted_with_the_kernels_of_the_image_alone(app):
    folder, environment = app
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert kernels_in(folder / "kernels")
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-B", "service.py", str(port)]
    server = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        digits = fg.datasets.load_digits()
        model = fg.load_model(folder / "model.npz")
        for row, label in zip(digits.X[:5], np.asarray(model.predict(digits.X[:5])).tolist()):
            assert post(port, row.tolist()) == (200, label)
        code, words = post(port, [1.0, 2.0])
        assert code == 400 and "64" in words
    finally:
        server.terminate()
        server.wait()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
