"""Devices by name, what pactl prints, and the virtual microphone's lines."""

from pathlib import Path

import pytest

from anivoice.client.microphone import virtual
from anivoice.client.microphone.devices import Device, choose_device
from anivoice.client.microphone.pulse import read_devices
from anivoice.errors import InvalidParameter

DEVICES = [
    Device("Headset (MME)", "0", "input"),
    Device("Headset (WASAPI)", "1", "input", is_default=True),
    Device("CABLE Output", "2", "input"),
]

LISTING = """Source #1
\tState: IDLE
\tName: alsa_output.pci.monitor
\tDescription: Monitor of Speakers
\tProperties:
\t\tdevice.description = "Monitor of Speakers"
Source #2
\tName: alsa_input.usb
\tDescription: Blue: Yeti
"""


@pytest.mark.parametrize(
    ("wanted", "key"), [(None, "1"), ("cable", "2"), ("wasapi", "1"), ("0", "0"), ("Headset (MME)", "0")]
)
def test_a_device_is_found_by_its_name_a_part_of_it_or_its_key(wanted: str | None, key: str) -> None:
    assert choose_device(DEVICES, wanted, "input").key == key


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("headset", r"several devices match 'headset', say more of the name; there are: 'Headset \(MME\)', 'Headset"),
        ("none", "--input: no device is called 'none'; there are: 'Headset"),
    ],
)
def test_what_is_not_clear_is_told_with_the_names(wanted: str, told: str) -> None:
    with pytest.raises(InvalidParameter, match=told):
        choose_device(DEVICES, wanted, "input")


def test_no_device_at_all() -> None:
    with pytest.raises(InvalidParameter, match="there is no device; there are: none"):
        choose_device([], None, "output")


def test_microphones_come_before_monitors_of_outputs() -> None:
    assert list(read_devices(LISTING, "input", "alsa_input.usb")) == [
        Device("Blue: Yeti", "alsa_input.usb", "input", is_default=True),
        Device("Monitor of Speakers", "alsa_output.pci.monitor", "input"),
    ]


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_pipewire_gets_a_file_of_its_own(config_home: Path) -> None:
    path = virtual.write_configuration(virtual.modules_of("My voice"), "My voice", is_pipewire=True)
    assert path == config_home / "pipewire" / "pipewire-pulse.conf.d" / "anivoice-my_voice.conf"
    assert path.read_text().startswith(
        'pulse.cmd = [\n    { cmd = "load-module" args = "module-null-sink sink_name=anivoice_my_voice rate=48000 '
        'sink_properties=\\"device.description=\'My voice (anivoice)\'\\"" flags = [ nofail ] }\n'
    )
    virtual.write_configuration([], "My voice", is_pipewire=True)
    assert not path.exists()


def test_pulseaudio_keeps_what_the_user_wrote(config_home: Path) -> None:
    path = config_home / "pulse" / "default.pa"
    path.parent.mkdir()
    path.write_text("load-module module-echo-cancel\n")
    for _ in range(2):
        virtual.write_configuration(virtual.modules_of("A"), "A", is_pipewire=False)
    assert path.read_text().count("module-remap-source source_name=a master=anivoice_a.monitor") == 1
    virtual.write_configuration(virtual.modules_of("B"), "B", is_pipewire=False)
    virtual.write_configuration([], "A", is_pipewire=False)
    assert "source_name=b" in path.read_text()
    virtual.write_configuration([], "B", is_pipewire=False)
    assert path.read_text() == "load-module module-echo-cancel\n"


def test_without_anything_of_the_users_the_systems_own_file_is_taken_in_and_left_again(config_home: Path) -> None:
    path = virtual.write_configuration(virtual.modules_of("A"), "A", is_pipewire=False)
    assert path.read_text().startswith(".include /etc/pulse/default.pa\n")
    virtual.write_configuration([], "A", is_pipewire=False)
    assert not path.exists()


@pytest.mark.parametrize("name", ["", 'a"b', "a\nb", "x" * 41, "a'b", "ü"])
def test_names_that_would_need_quoting_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="--virtual-mic"):
        virtual.modules_of(name)
