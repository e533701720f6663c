"""A pickle interpreter that builds plain data and nothing else.

It knows pickle's opcodes (decoded by `pickletools.genops`) but has no way to import, look up or call anything: a global
is only ever a name (`Global`), what a file would have made by calling one becomes an `Inert` leaf, and the few torch
functions that describe tensors become records (`TensorRecord`, `StorageRecord`) to be checked before memory is spent.
"""

import pickletools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol, cast

MAX_OPCODES = 1_000_000
MAX_LINE_BYTES = 65_536
MAX_ITEMS_PER_OPCODE, FREE_ITEMS = 4, 1000
"""A sound file puts each item into a container about once. More is one list that is copied again and again."""

MAX_INTEGER_KEY = 2**31
"""Larger ones can be chosen so that they collide in a dict, which then takes hours."""

_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLE_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_EFFECT = frozenset({"PROTO", "FRAME"})
_REBUILD_TENSOR = frozenset({"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"})
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_ORDERED_DICT = "collections.OrderedDict"


class ByteStream(Protocol):
    """What the interpreter reads from."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


@dataclass(frozen=True, eq=False)
class Global:
    """The name of a class or function that a file refers to. Only a name: nothing is imported."""

    module: str
    name: str

    @property
    def qualified(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_torch_data(self) -> bool:
        """Whether it belongs to what describes tensors: storages, dtypes, rebuilding functions, ordered dicts."""
        if self.qualified in _REBUILD_TENSOR or self.qualified in (_REBUILD_PARAMETER, _ORDERED_DICT):
            return True
        return self.module == "torch" and self.name.endswith("Storage") and self.name.isidentifier()


@dataclass(frozen=True, eq=False)
class Inert:
    """Stands where a file would have had an object of an unknown class. Holds nothing."""

    origin: str


@dataclass(frozen=True)
class StorageRecord:
    """A block of numbers kept elsewhere in the file. `type_name` is torch's, such as "HalfStorage"."""

    type_name: str
    key: str
    num_elements: int


@dataclass(frozen=True)
class TensorRecord:
    """A view of a storage, in elements."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Pickle's mark on the stack."""


@dataclass
class _Machine:
    """The state of one run. Containers are built in place, so that shared and recursive ones work."""

    stack: list[object] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    mark: _Mark = field(default_factory=_Mark)
    num_items: int = 0
    """Items that were put into containers so far."""

    def step(self, name: str, arg: object) -> None:
        """Executes one opcode. Raises ValueError, TypeError or IndexError on a malformed stream."""
        if name in _LITERALS:
            self.stack.append(arg)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLE_SIZES:
            self.stack.append(tuple(self._pop_many(_TUPLE_SIZES[name])))
        elif name not in _NO_EFFECT and not (self._step_memo(name, arg) or self._step_container(name)):
            self._step_object(name, arg)

    def _step_memo(self, name: str, arg: object) -> bool:
        match name:
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[_integer(arg)] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                index = _integer(arg)
                if index not in self.memo:
                    raise ValueError("it refers to something it does not hold")
                self.stack.append(self.memo[index])
            case "MARK":
                self.stack.append(self.mark)
            case "POP":
                self.stack.pop()
            case "POP_MARK":
                self._pop_to_mark()
            case "DUP":
                self.stack.append(self.stack[-1])
            case _:
                return False
        return True

    def _step_container(self, name: str) -> bool:
        match name:
            case "EMPTY_LIST" | "EMPTY_SET":
                self.stack.append([])
            case "EMPTY_DICT":
                self.stack.append({})
            case "LIST" | "FROZENSET":
                self.stack.append(self._pop_to_mark())
            case "TUPLE":
                self.stack.append(tuple(self._pop_to_mark()))
            case "DICT":
                items = self._pop_to_mark()
                self.stack.append(_set_items({}, items))
            case "APPEND":
                _extend(self.stack[-2], self._pop_many(1))
            case "APPENDS" | "ADDITEMS":
                items = self._pop_to_mark()
                _extend(self.stack[-1], items)
            case "SETITEM":
                items = self._pop_many(2)
                _set_items(self.stack[-1], items)
            case "SETITEMS":
                items = self._pop_to_mark()
                _set_items(self.stack[-1], items)
            case _:
                return False
        return True

    def _step_object(self, name: str, arg: object) -> None:
        match name:
            case "GLOBAL":
                self._push_global(*str(arg).split(" ", 1))
            case "STACK_GLOBAL":
                self._push_global(*self._pop_many(2))
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._pop_many(2)
                self._push_applied(function, arguments)
            case "NEWOBJ_EX":
                function, arguments, _ = self._pop_many(3)
                self._push_applied(function, arguments)
            case "INST" | "OBJ":
                self._pop_to_mark()
                self.foreign.add(str(arg))
                self.stack.append(Inert(str(arg)))
            case "BUILD":
                target, _ = self._pop_many(2)
                self.stack.append(target)
            case "BINPERSID":
                self.stack.append(_storage_record(self.stack.pop()))
            case _:
                raise ValueError(f"pickle opcode {name} has no place in a model file")

    def _push_applied(self, function: object, arguments: object) -> None:
        made = _apply(function, arguments)
        if isinstance(made, dict):
            self.num_items += len(made)
        self.stack.append(made)

    def _push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global's name is no text")
        reference = Global(module, name)
        if not reference.is_torch_data:
            self.foreign.add(reference.qualified)
        self.stack.append(reference)

    def _pop_many(self, count: int) -> list[object]:
        if len(self.stack) < count or any(item is self.mark for item in self.stack[-count:]):
            raise IndexError("the pickle's stack is too short")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _pop_to_mark(self) -> list[object]:
        start = len(self.stack) - 1
        while self.stack[start] is not self.mark:
            start -= 1
            if start < 0:
                raise IndexError("the pickle's stack has no mark")
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items


@dataclass(frozen=True)
class PickleContent:
    """What one pickle holds: its root, and the names of all globals that have nothing to do with tensors."""

    root: object
    foreign_globals: frozenset[str]


def read_pickle(stream: ByteStream) -> PickleContent:
    """Reads one pickle and leaves `stream` behind its last byte. Raises ValueError for anything malformed."""
    machine = _Machine()
    try:
        for num_done, (opcode, arg, _) in enumerate(pickletools.genops(cast(IO[bytes], stream))):
            if opcode.name == "STOP":
                return PickleContent(machine.stack.pop(), frozenset(machine.foreign))
            if num_done >= MAX_OPCODES:
                raise ValueError("the pickle is too long")
            machine.step(opcode.name, arg)
            if machine.num_items > MAX_ITEMS_PER_OPCODE * num_done + FREE_ITEMS:
                raise ValueError("it says the same over and over again, as no model file does")
    except (IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"malformed pickle: {error}") from error
    raise ValueError("the pickle has no end")


def _apply(function: object, arguments: object) -> object:
    """What REDUCE and NEWOBJ come to: a record for torch's own, an `Inert` for everything else."""
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        return Inert("call")
    if function.qualified in _REBUILD_TENSOR:
        return _tensor_record(arguments)
    if function.qualified == _REBUILD_PARAMETER:
        return arguments[0]
    if function.qualified == _ORDERED_DICT:
        pairs = arguments[0] if arguments else []
        if not isinstance(pairs, list):
            raise TypeError("an ordered dict of unknown form")
        return _set_items({}, [part for key, value in pairs for part in (key, value)])
    return Inert(function.qualified)


def _tensor_record(arguments: Sequence[object]) -> TensorRecord:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, StorageRecord):
        raise TypeError("a tensor without a storage")
    return TensorRecord(storage, _integer(offset), _integers(shape), _integers(strides))


def _storage_record(persistent_id: object) -> StorageRecord:
    """From torch's ("storage", type, key, location, number of elements[, view])."""
    if not isinstance(persistent_id, tuple) or len(persistent_id) not in (5, 6) or persistent_id[0] != "storage":
        raise ValueError("an unknown kind of persistent id")
    kind, key, num_elements = persistent_id[1], persistent_id[2], persistent_id[4]
    if not isinstance(kind, Global) or (len(persistent_id) == 6 and persistent_id[5] is not None):
        raise ValueError("a storage of an unknown form")
    if not isinstance(key, str | int):
        raise ValueError("a storage's key is neither text nor number")
    return StorageRecord(kind.name, str(key), _integer(num_elements))


def _integer(value: object) -> int:
    """A count or an index: not negative, at most 63 bits."""
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("a count or index is out of range")
    return value


def _integers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > 16:
        raise ValueError("a tensor's shape is malformed")
    return tuple(_integer(value) for value in values)


def _extend(target: object, items: Iterable[object]) -> None:
    if isinstance(target, list):
        target.extend(items)


def _set_items(target: object, items: Sequence[object]) -> object:
    """Adds alternating keys and values. Keys are scalars (hashing nested tuples can take for ever) or leaves."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int | None | Global | Inert):
            raise TypeError("a dict key is neither text nor a whole number")
        if isinstance(key, int) and not 0 <= key < MAX_INTEGER_KEY:
            raise TypeError("a dict key is a number out of range")
        if isinstance(target, dict):
            target[key] = value
    return target
