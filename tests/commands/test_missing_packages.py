"""A command whose packages are not installed says what to install; the microphone client needs no torch."""

import subprocess
import sys

import pytest

SERVER_ONLY = ("av", "faiss", "parselmouth", "praat", "pyworld", "safetensors", "scipy", "soundfile", "torch")


def run_without_the_servers_packages(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({SERVER_ONLY}))\n"
        f"from anivoice.commands.main import main; sys.exit(main({list(arguments)}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("convert", "in.wav", "out.wav")])
def test_a_command_without_its_packages(arguments: tuple[str, ...]) -> None:
    result = run_without_the_servers_packages(*arguments)
    assert result.returncode == 1
    assert "`pip install anivoice` brings it" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_microphone_client_works_without_torch() -> None:
    result = run_without_the_servers_packages("mic", "--url", "http://127.0.0.1:9", "--input", "no such microphone")
    assert result.returncode in (1, 2)
    assert "no such microphone" in result.stderr or "no sound" in result.stderr
    assert "`pip install anivoice` brings" not in result.stderr
