"""What lies in `weights/`: names, indexes, settings, problems, the cache."""

import gc
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conformance import OWN_VECTORS as VECTORS

from anivoice.checkpoints.voice_file import VoiceCheckpoint
from anivoice.errors import InvalidModelFile, InvalidParameter, MissingAsset, NotFound
from anivoice.voices.assets import EMBEDDED_VOICE
from anivoice.voices.cache import VoiceCache
from anivoice.voices.library import VoiceLibrary, VoiceSettings
from anivoice.voices.voice import VoiceFiles


def put_voice(folder: Path, name: str, source: str = "v1_f0_40k.pth") -> Path:
    return Path(shutil.copy(VECTORS / "synth" / source, folder / f"{name}.pth"))


def put_index(folder: Path, name: str, source: str = "added_v1_256.index") -> Path:
    (folder / name).parent.mkdir(exist_ok=True)
    return Path(shutil.copy(VECTORS / "retrieval" / source, folder / name))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    shutil.copytree(VECTORS / "hubert" / "tiny12_hf_safetensors", tmp_path / "contentvec")
    put_voice(tmp_path, "alice")
    return tmp_path


def test_names_are_sorted_stems_without_shared_networks(weights: Path) -> None:
    put_voice(weights, "Zoe")
    put_voice(weights, "bob v2", "v2_f0_40k.pth")
    put_voice(weights, "hubert_base")
    (weights / "rmvpe.pt").write_bytes(b"")
    (weights / "notes.txt").write_text("")
    (weights / "folder.pth").mkdir()
    assert VoiceLibrary(weights).names() == ["Zoe", "alice", "bob v2"]


def test_no_folder_means_no_voices(tmp_path: Path) -> None:
    assert VoiceLibrary(tmp_path / "none").names() == []


def test_an_unknown_voice_lists_the_known_ones(weights: Path) -> None:
    with pytest.raises(NotFound, match=r"'bob'.*alice"):
        VoiceLibrary(weights).find("bob")


def test_the_embedded_voice_is_the_default_until_there_is_another(weights: Path) -> None:
    library = VoiceLibrary(weights)
    put_voice(weights, EMBEDDED_VOICE)
    assert library.default_name() == "alice"
    put_voice(weights, "bob")
    with pytest.raises(InvalidParameter, match=f"alice, {EMBEDDED_VOICE}, bob"):
        library.default_name()
    for name in ("alice", "bob"):
        (weights / f"{name}.pth").unlink()
    assert library.default_name() == EMBEDDED_VOICE


def test_the_only_voice_is_the_default(weights: Path) -> None:
    library = VoiceLibrary(weights)
    assert library.default_name() == "alice"
    put_voice(weights, "bob")
    with pytest.raises(InvalidParameter, match="alice, bob"):
        library.default_name()
    for path in weights.glob("*.pth"):
        path.unlink()
    with pytest.raises(NotFound, match=r"put a voice's \.pth"):
        library.default_name()


@pytest.mark.parametrize(
    "name",
    ["alice.index", "alice/added_x.index", "alice/any.index", "added_IVF20_Flat_nprobe_1_alice_v1.index"],
)
def test_an_index_is_found_beside_the_voice(weights: Path, name: str) -> None:
    path = put_index(weights, name)
    assert VoiceLibrary(weights).find("alice").index_path == path


def test_added_indexes_go_before_trained_ones(weights: Path) -> None:
    put_index(weights, "trained_alice.index", "trained_empty_256.index")
    assert VoiceLibrary(weights).find("alice").index_path == weights / "trained_alice.index"
    added = put_index(weights, "added_alice.index")
    assert VoiceLibrary(weights).find("alice").index_path == added


def test_another_voices_index_is_not_taken(weights: Path) -> None:
    put_index(weights, "bob.index")
    put_index(weights, "added_bob.index")
    assert VoiceLibrary(weights).find("alice").index_path is None


def test_the_name_in_an_index_counts_as_a_whole(weights: Path) -> None:
    path = put_index(weights, "added_IVF20_Flat_alice2_v1.index")
    assert VoiceLibrary(weights).find("alice").index_path is None
    put_voice(weights, "Alice2")
    library = VoiceLibrary(weights)
    assert (library.find("alice").index_path, library.find("Alice2").index_path) == (None, path)


def test_describe_tells_everything(weights: Path) -> None:
    put_index(weights, "alice.index")
    entry = VoiceLibrary(weights).describe("alice")
    assert entry.config is not None
    assert (entry.config.version, entry.config.sample_rate_hz, entry.config.has_f0) == ("v1", 40000, True)
    assert entry.num_index_vectors == 800
    assert entry.problem is None
    assert entry.index_problem is None


def test_problems_are_told_and_stop_nobody(weights: Path) -> None:
    (weights / "broken.pth").write_bytes(b"PK\x03\x04 not a voice")
    put_voice(weights, "carol", "v2_f0_40k.pth")
    put_index(weights, "carol.index")
    put_index(weights, "alice.index", "trained_empty_256.index")
    entries = {entry.name: entry for entry in VoiceLibrary(weights).list()}
    assert "broken.pth" in (entries["broken"].problem or "")
    assert "256 dimensions" in (entries["carol"].index_problem or "")
    assert "768" in (entries["carol"].index_problem or "")
    assert "trained but empty" in (entries["alice"].index_problem or "")


def test_settings_beside_a_voice(weights: Path) -> None:
    (weights / "alice.json").write_text(json.dumps({"unvoiced_f0": "interpolate"}))
    assert VoiceLibrary(weights).describe("alice").unvoiced_f0 == "interpolate"
    with VoiceCache(VoiceLibrary(weights), 2**30).using("alice", False) as voice:
        assert voice.unvoiced_f0 == "interpolate"
    (weights / "alice.json").write_text(json.dumps({"unvoiced_f0": "sometimes"}))
    with pytest.raises(InvalidModelFile, match=r"alice\.json.*unvoiced_f0"):
        VoiceCache(VoiceLibrary(weights), 2**30).acquire("alice", False)
    for text in ("{", "[" * 100_000):
        (weights / "alice.json").write_text(text)
        with pytest.raises(InvalidModelFile, match="not JSON"):
            VoiceCache(VoiceLibrary(weights), 2**30).acquire("alice", False)


def test_a_voice_is_loaded_once_and_kept(weights: Path) -> None:
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(cache.acquire("alice", False))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8
    assert len(set(map(id, loaded))) == 1
    assert loaded[0].num_users == 8


def test_a_changed_file_is_noticed(weights: Path) -> None:
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    first = cache.acquire("alice", False)
    cache.release(first)
    put_voice(weights, "alice", "v1_nof0_40k.pth")
    os.utime(weights / "alice.pth", ns=(1, 1))
    shutil.rmtree(weights / "contentvec")
    shutil.copytree(VECTORS / "hubert" / "tiny12_hf_safetensors", weights / "contentvec")
    second = cache.acquire("alice", False)
    assert second is not first
    assert not second.config.has_f0


def test_least_recently_used_idle_voices_are_dropped(weights: Path) -> None:
    for name in ("bob", "carol"):
        put_voice(weights, name)
    cache = VoiceCache(VoiceLibrary(weights), max_bytes=1)
    alice = cache.acquire("alice", False)
    with cache.using("bob", False):
        assert cache.loaded_names() == ["alice", "bob"]
    with cache.using("carol", False):
        assert cache.loaded_names() == ["alice", "carol"]
    cache.release(alice)
    assert cache.loaded_names() == ["carol"]
    assert cache.evict_idle()
    assert not cache.evict_idle()


def test_voices_share_one_encoder(weights: Path) -> None:
    put_voice(weights, "bob", "v1_nof0_40k.pth")
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    assert cache.acquire("alice", False).encoder is cache.acquire("bob", False).encoder


def test_a_replaced_encoder_is_noticed_and_who_is_at_it_keeps_the_old_one(weights: Path) -> None:
    put_voice(weights, "bob")
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    running = cache.acquire("alice", False)
    old = running.encoder
    os.utime(weights / "contentvec" / "config.json", ns=(1, 1))
    second, other = cache.acquire("alice", False), cache.acquire("bob", False)
    assert second.encoder is other.encoder is not old
    assert running.encoder is old
    cache.release(running)
    assert cache.acquire("alice", False) is second


def test_a_voice_that_cannot_be_used_is_read_once_and_leaves_nothing(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read, num_values = 0, 1_234_567

    def read(files: VoiceFiles) -> tuple[VoiceSettings, VoiceCheckpoint]:
        nonlocal num_read
        num_read += 1
        content = torch.zeros(num_values)
        try:
            raise ValueError(f"{len(content)} values, all of them wrong")
        except ValueError as error:
            raise InvalidModelFile(str(error)) from error

    monkeypatch.setattr("anivoice.voices.cache.read_voice", read)
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    gc.disable()
    try:
        with ThreadPoolExecutor(1) as pool:
            kept = [pool.submit(cache.acquire, "alice", False).exception() for _ in range(4)]
        sizes = [len(one) for one in gc.get_objects() if type(one) is torch.Tensor and one.dim() == 1]
    finally:
        gc.enable()
    assert num_values not in sizes
    assert [str(error) for error in kept] == ["1234567 values, all of them wrong"] * 4
    assert num_read == 1
    os.utime(weights / "alice.pth", ns=(1, 1))
    with pytest.raises(InvalidModelFile):
        cache.acquire("alice", False)
    assert num_read == 2


def test_a_missing_encoder_names_the_command(weights: Path) -> None:
    shutil.rmtree(weights / "contentvec")
    with pytest.raises(MissingAsset, match="anivoice fetch contentvec"):
        VoiceCache(VoiceLibrary(weights), 2**30).acquire("alice", False)


def test_an_encoder_that_vanishes_is_told_even_when_the_voice_is_loaded(weights: Path) -> None:
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    cache.release(cache.acquire("alice", False))
    shutil.rmtree(weights / "contentvec")
    with pytest.raises(MissingAsset, match="anivoice fetch contentvec"):
        cache.acquire("alice", False)


def test_an_encoder_of_another_width_is_refused(weights: Path) -> None:
    put_voice(weights, "vera", "v2_f0_40k.pth")
    with pytest.raises(InvalidModelFile, match=r"contentvec gives \d+ features, but a v2 voice needs 768"):
        VoiceCache(VoiceLibrary(weights), 2**30).acquire("vera", False)


def test_another_encoder_is_asked_for_by_name(weights: Path) -> None:
    (weights / "alice.json").write_text(json.dumps({"embedder_model": "chinese-hubert-base"}))
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    with pytest.raises(MissingAsset, match="chinese-hubert-base"):
        cache.acquire("alice", False)
    shutil.copytree(weights / "contentvec", weights / "chinese-hubert-base")
    assert cache.acquire("alice", False).encoder.path == weights / "chinese-hubert-base"


def test_an_unusable_index_is_refused_only_when_it_is_wanted(weights: Path) -> None:
    put_index(weights, "alice.index", "trained_empty_256.index")
    cache = VoiceCache(VoiceLibrary(weights), 2**30)
    cache.acquire("alice", False)
    with pytest.raises(InvalidModelFile, match=r"trained but empty.*index_rate to 0"):
        cache.acquire("alice", True)


@pytest.mark.parametrize("name", ["..", "/", "../weights", "x" * 900, "a\0b"])
def test_an_encoders_name_leads_nowhere_else(weights: Path, name: str) -> None:
    (weights / "alice.json").write_text(json.dumps({"embedder_model": name}))
    with pytest.raises(MissingAsset, match="content encoder"):
        VoiceCache(VoiceLibrary(weights), 2**30).acquire("alice", False)


def test_a_voice_removed_in_the_middle_of_loading_is_not_found(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = VoiceLibrary(weights)
    files = library.find("alice")
    monkeypatch.setattr(library, "find", lambda name: files)
    files.path.unlink()
    with pytest.raises(NotFound, match="removed"):
        VoiceCache(library, 2**30).acquire("alice", False)
