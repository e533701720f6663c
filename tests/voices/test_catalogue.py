"""Voices and indexes as people name them; what is not listed is explained."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from conformance import OWN_VECTORS as VECTORS

from anivoice.errors import InvalidParameter, NotFound
from anivoice.parameters import ConversionParameters
from anivoice.voices.catalogue import scan
from anivoice.voices.library import VoiceLibrary
from anivoice.voices.names import name_in_index, spellings

JOANNA_INDEX = "added_IVF256_Flat_nprobe_1_Joanna_v2.index"


def put(folder: Path, name: str) -> Path:
    """A voice or an index of this name below `folder`."""
    source = "retrieval/added_v1_256.index" if name.lower().endswith(".index") else "synth/v1_f0_40k.pth"
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    return Path(shutil.copy(VECTORS / source, folder / name))


def reasons(folder: Path) -> dict[str, str]:
    return {one.file: one.reason for one in scan(folder).unlisted}


@pytest.mark.parametrize(
    "voice",
    [
        *("Joanna", "joanna", "Joanna_e200_s4000", "Joanna_200e_4000s", "Joanna_s4000e200", "Joanna_e200"),
        *("Joanna_200e_4000s_best_epoch", "Joanna_v2", "Joanna_v2_e10_s99"),
    ],
)
def test_the_usual_pair_matches(tmp_path: Path, voice: str) -> None:
    put(tmp_path, f"{voice}.pth")
    index = put(tmp_path, JOANNA_INDEX)
    files = VoiceLibrary(tmp_path).find(voice)
    assert files.index_path == index
    assert "joanna" in str(files.index_reason)


@pytest.mark.parametrize("voice", ["Ann", "v2", "anna", "Flat", "1_Joanna", "Joanna2", "Joann", "nprobe", "256"])
def test_a_part_of_the_name_does_not_match(tmp_path: Path, voice: str) -> None:
    put(tmp_path, f"{voice}.pth")
    put(tmp_path, JOANNA_INDEX)
    assert VoiceLibrary(tmp_path).find(voice).index_path is None
    assert reasons(tmp_path) == {JOANNA_INDEX: "no voice is called joanna: name it like its voice, NAME.index"}


def test_two_epochs_of_a_voice_share_its_index(tmp_path: Path) -> None:
    index = put(tmp_path, JOANNA_INDEX)
    for epoch in ("Joanna_e100_s2000", "Joanna_e200_s4000"):
        put(tmp_path, f"{epoch}.pth")
        assert VoiceLibrary(tmp_path).find(epoch).index_path == index
    exact = put(tmp_path, "Joanna_e100_s2000.index")
    assert VoiceLibrary(tmp_path).find("Joanna_e100_s2000").index_path == exact


def test_names_of_indexes() -> None:
    assert name_in_index("added_IVF256_Flat_nprobe_1_My Voice_v2") == {"my voice", "my voice_v2"}
    assert name_in_index("trained_IVF20_Flat_alice_v1") == {"alice", "alice_v1"}
    assert name_in_index("bob") == {"bob"}
    assert spellings("Bob_e1_s2") == {"bob", "bob_e1_s2"}
    assert spellings("Bob_e") == {"bob_e"}


def test_endings_in_capitals_and_doubled(tmp_path: Path) -> None:
    for name in ("Loud.PTH", "Mixed.Pth", "LOUD2.INDEX", "LOUD2.pth", "voice.pth.pth", "st.SafeTensors"):
        put(tmp_path, name)
    library = VoiceLibrary(tmp_path)
    assert library.names() == ["LOUD2", "Loud", "Mixed", "st", "voice"]
    assert library.find("LOUD2").index_path == tmp_path / "LOUD2.INDEX"
    for name in ("voice.pth.pth", "voice.pth", "Loud.PTH"):
        asked = ConversionParameters.parse({"model_name": name}).model_name
        assert library.find(str(asked)).path.name.lower().startswith(name.split(".")[0].lower())


def test_a_folder_for_each_voice(tmp_path: Path) -> None:
    put(tmp_path, "Kits Voice/model.pth")
    index = put(tmp_path, "Kits Voice/model.index")
    put(tmp_path, "logs/G_2333333.pth")
    put(tmp_path, "logs/D_2333333.pth")
    put(tmp_path, "logs/Mia.pth")
    put(tmp_path, "many/one.pth")
    put(tmp_path, "many/two.pth")
    named = put(tmp_path, "many/added_IVF1_Flat_nprobe_1_two_v2.index")
    shutil.copytree(VECTORS / "hubert" / "tiny12_hf_safetensors", tmp_path / "chinese-hubert-base")
    library = VoiceLibrary(tmp_path)
    assert library.names() == ["Kits Voice", "logs", "one", "two"]
    assert library.find("Kits Voice").index_path == index
    assert library.find("logs").path == tmp_path / "logs" / "Mia.pth"
    assert library.find("two").index_path == named
    assert library.describe("Kits Voice").problem is None
    assert set(reasons(tmp_path)) == {str(Path("logs", "G_2333333.pth")), str(Path("logs", "D_2333333.pth"))}


def test_what_is_no_voice_is_explained_and_never_the_default(tmp_path: Path) -> None:
    put(tmp_path, "alice.pth")
    for name in ("G_2333333.pth", "D_2333333.pth", "f0D40k.pth", "colon:name.pth", "alice.safetensors"):
        put(tmp_path, name)
    (tmp_path / "empty.pth").touch()
    (tmp_path / "Carol.zip").write_bytes(b"PK")
    (tmp_path / "Dora.onnx").write_bytes(b"onnx")
    (tmp_path / "gone.pth").symlink_to(tmp_path / "nowhere")
    put(tmp_path, "trained_IVF256_Flat_nprobe_1_alice_v1.index")
    put(tmp_path, "added_IVF256_Flat_nprobe_1_alice_v1.index")
    library = VoiceLibrary(tmp_path)
    assert library.names() == ["alice"]
    assert library.default_name() == "alice"
    told = reasons(tmp_path)
    assert "export the voice" in told["G_2333333.pth"]
    assert "judges" in told["D_2333333.pth"]
    assert "judges" in told["f0D40k.pth"]
    assert "none of / \\ and :" in told["colon:name.pth"]
    assert told["empty.pth"] == "it is empty"
    assert "alice.pth has the same name" in told["alice.safetensors"]
    assert "unpack it" in told["Carol.zip"]
    assert ".pth is" in told["Dora.onnx"]
    assert "cannot be read" in told["gone.pth"]
    assert "holds no vectors" in told["trained_IVF256_Flat_nprobe_1_alice_v1.index"]
    assert len(told) == 10


def test_both_spellings_of_a_letter_are_one_voice(tmp_path: Path) -> None:
    composed, decomposed = "Zoé", unicodedata.normalize("NFD", "Zoé")
    put(tmp_path, f"{decomposed}.pth")
    library = VoiceLibrary(tmp_path)
    assert library.names() == [composed]
    for asked in (composed, decomposed, f"{decomposed}.pth"):
        name = ConversionParameters.parse({"model_name": asked}).model_name
        assert library.find(str(name)).path.name == f"{decomposed}.pth"
    put(tmp_path, f"{composed}.pth")
    assert library.names() == [composed]
    assert "same name" in next(iter(reasons(tmp_path).values()))


@pytest.mark.parametrize("name", ["v" * 251, "a.b c.d", " lead", "[bold]x", "名前", "👩‍🚀", "né" * 60, "100%"])
def test_every_listed_name_can_be_asked_for(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"{name}.pth")
    library = VoiceLibrary(tmp_path)
    assert library.names() == [name]
    assert ConversionParameters.parse({"model_name": name}).model_name == name
    assert library.find(name).path == tmp_path / f"{name}.pth"


def test_names_that_no_request_can_hold_are_not_listed(tmp_path: Path) -> None:
    for name in (b"l\xe4ute.pth", b"bell\x07.pth"):
        shutil.copy(VECTORS / "synth" / "v1_f0_40k.pth", bytes(tmp_path) + b"/" + name)
    assert VoiceLibrary(tmp_path).names() == []
    assert all("UTF-8" in reason for reason in reasons(tmp_path).values())
    assert len(reasons(tmp_path)) == 2


def test_of_many_voices_an_error_names_the_nearest(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"voice{number}.pth").write_bytes(b"x")
    (tmp_path / "Joanna.pth").write_bytes(b"x")
    with pytest.raises(NotFound, match=r"no voice 'Joana'; known are Joanna, .* and 26 more") as told:
        VoiceLibrary(tmp_path).find("Joana")
    assert len(str(told.value)) < 200
    with pytest.raises(InvalidParameter, match="and 26 more"):
        VoiceLibrary(tmp_path).default_name()
