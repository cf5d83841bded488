"""The pytest plugin is there in every pytest session of an environment with tlplat, and costs it nothing."""

import subprocess
import sys


def test_loading_it_imports_no_torch(tmp_path):
    (tmp_path / "test_x.py").write_text(
        "import sys\ndef test_x(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.hasplugin('tlplat')\n"
        "    assert not {'torch', 'numpy', 'tlplat.testing.kit'} & sys.modules.keys()\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "test_x.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_misspelled_expected_failure_is_refused(tmp_path):
    (tmp_path / "test_x.py").write_text(
        "class TestX:\n    expected_failures = {'test_y': 'why'}\n    def test_x(self):\n        pass\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "test_x.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "test_y, which is no check of it" in done.stdout + done.stderr
