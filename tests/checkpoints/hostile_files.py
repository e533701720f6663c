"""Builders of hostile model files, shared by the checkpoint tests."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def write_zip(path: Path, pickle_bytes: bytes, storages: dict[str, bytes] | None = None, **zip_options: int) -> Path:
    """A torch zip container around any pickle."""
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        archive.writestr("archive/data.pkl", pickle_bytes)
        archive.writestr("archive/byteorder", b"little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
    return path


def write_legacy(path: Path, pickle_bytes: bytes, storages: dict[str, tuple[int, bytes]] | None = None) -> Path:
    """A pre-1.6 torch container around any pickle. Storages: key -> (number of elements, bytes)."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with path.open("wb") as file:
        for value in (LEGACY_MAGIC, 1001, system):
            pickle.dump(value, file, protocol=2)
        file.write(pickle_bytes)
        pickle.dump(list(storages or {}), file, protocol=2)
        for num_elements, data in (storages or {}).values():
            file.write(struct.pack("<q", num_elements) + data)
    return path


class Call:
    """Pickles as a call of `function`, which is what a plain unpickler would do."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._reduced


def attacks(target: Path) -> dict[str, bytes]:
    """Pickles of dicts with a `model`/`weight` and something that would create the directory `target`."""
    command = f"mkdir {target}"
    spawn = {
        "os_system": Call(os.system, command),
        "eval": Call(eval, f"__import__('os').mkdir({str(target)!r})"),
        "exec": Call(exec, f"import os; os.mkdir({str(target)!r})"),
        "os_mkdir": Call(os.mkdir, str(target)),
    }
    raw: dict[str, bytes] = {
        name: pickle.dumps({"model": {}, "weight": {}, "config": [], "args": call}, protocol=2)
        for name, call in spawn.items()
    }
    text = command.encode()
    raw["global_reduce"] = (
        b"\x80\x02}X\x04\x00\x00\x00argscposix\nsystem\nX" + struct.pack("<I", len(text)) + text + b"\x85Rs."
    )
    raw["inst"] = b"(X" + struct.pack("<I", len(text)) + text + b"ios\nsystem\n."
    raw["obj"] = b"(cos\nsystem\nX" + struct.pack("<I", len(text)) + text + b"o."
    raw["newobj"] = b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(text)) + text + b"\x85\x81."
    raw["stack_global_dotted"] = (
        b"\x80\x04\x8c\x0btorch._utils\x8c\x19_rebuild_tensor_v2.__call__\x93\x8c\x02os\x85R0"
        + b"\x8c\x08builtins\x8c\x04eval\x93\x8c"
        + bytes([len(text)])
        + text
        + b"\x85R."
    )
    raw["dotted_global"] = (
        b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93\x8c" + bytes([len(text)]) + text + b"\x85R."
    )
    raw["build_setstate"] = (
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsbX"
        + struct.pack("<I", len(text))
        + text
        + b"b."
    )
    raw["build_on_function"] = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__cos\nsystem\nsb."
    raw["extension"] = b"\x80\x02\x82\x01."
    raw["no_attack"] = pickle.dumps({"model": {}}, protocol=2)
    return raw


def tensor_pickle(
    storage_elements: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], key: str = "0"
) -> bytes:
    """A pickle of {"model": {"x": tensor}, "weight": {"x": tensor}} with the given claims about a FloatStorage."""

    class _Pickler(pickle.Pickler):
        def persistent_id(self, item: object) -> object:
            return ("storage", torch.FloatStorage, key, "cpu", storage_elements) if isinstance(item, _Storage) else None

    class _Storage:
        pass

    tensor = Call(torch._utils._rebuild_tensor_v2, _Storage(), offset, shape, strides, False, OrderedDict())
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump({"model": {"x": tensor}, "weight": {"x": tensor}, "config": []})
    return buffer.getvalue()
