"""Read the pickle inside a PyTorch file without running it.

A pickle is a program for a small stack machine, and Python's own loader lets it call anything.
This one knows only the opcodes that torch.save writes for a table of tensors, and only the names
in torch_calls.py; calling one of them builds a description, and nothing is imported. The meaning
of the opcodes: CPython, Lib/pickletools.py.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ...errors import CheckpointError
from ..storage.strict_json import shown
from .calls import CALLABLE, STORAGES, Refused, Storage, View, whole

MAX_OPS = 100_000  # the largest Llama, 405B, needs about 35,000


class Global(str):
    """A dotted name that the pickle mentions. It is never looked up in a module."""


class Flat(tuple[Any, ...]):
    """A tuple without tuples in it. Calls need those and tuples of those; no deeper is a weight."""


def make_tuple(items: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple of two levels at most: what deeper ones cost in time and memory has no bound."""
    made = tuple(items)
    inner = [item for item in made if isinstance(item, tuple)]
    if not all(isinstance(item, Flat) for item in inner):
        raise Refused("has tuples in tuples in tuples")
    return made if inner else Flat(made)


class Machine:
    """The stack machine: each method named after an opcode is what that opcode does."""

    def __init__(self, program: bytes):
        self.program = program
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack at each MARK that is still open
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> Any:
        """Execute up to STOP, which must be the end, and return what it leaves."""
        for _ in range(MAX_OPS):
            code = self.take(1)[0]
            if code == STOP:
                if self.at != len(self.program) or len(self.stack) != 1 or self.marks:
                    raise Refused("does not end where its program does")
                return self.pop()
            operation = OPCODES.get(code)
            if operation is None:
                raise Refused(f"uses the opcode 0x{code:02x}, which no table of tensors needs")
            operation(self)
        raise Refused(f"has more than {MAX_OPS} operations")

    # Reading the program

    def take(self, count: int) -> bytes:
        """The next `count` bytes of the program."""
        piece = self.program[self.at : self.at + count]
        if len(piece) < count:
            raise Refused("ends in the middle of its program")
        self.at += count
        return piece

    def number(self, layout: str) -> int:
        """The next number, in one of struct's layouts."""
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def line(self) -> str:
        """The text up to the next line feed."""
        end = self.program.find(b"\n", self.at, self.at + 256)
        if end < 0:
            raise Refused("has a name without an end")
        text = self.take(end + 1 - self.at)[:-1]
        if not text.isascii():
            raise Refused("has a name outside ASCII")
        return text.decode()

    # The stack

    def pop(self) -> Any:
        """Take the top of the stack, but nothing from below the last open MARK."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("takes from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Take everything since the last MARK, and the MARK."""
        if not self.marks:
            raise Refused("takes back to a MARK that is not there")
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def set_items(self, items: list[Any]) -> None:
        """Add key, value, key, value … to the table that is then on top of the stack."""
        table = self.pop()
        if not isinstance(table, dict) or len(items) % 2:
            raise Refused("sets an item of something that is not a table")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise Refused("has a table whose key is not text")
            if key in table:
                raise Refused(f"has the name {shown(key)} twice in a table")
            table[key] = value
        self.stack.append(table)

    # The opcodes

    def proto(self) -> None:
        version = self.take(1)[0]
        if version != 2:
            raise Refused(f"has pickle protocol {version}, and torch.save writes 2")

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def text(self) -> None:
        try:
            self.stack.append(self.take(self.number("<I")).decode())
        except UnicodeDecodeError:
            raise Refused("has text that is not UTF-8") from None

    def long1(self) -> None:
        count = self.take(1)[0]
        if count > 8:
            raise Refused(f"has a whole number of {count} bytes")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.stack.append(make_tuple(reversed(items)))

    def put(self, index: int) -> None:
        if index > MAX_OPS:
            raise Refused(f"remembers a value under the number {index}")
        value = self.pop()
        self.memo[index] = value
        self.stack.append(value)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise Refused(f"recalls the number {index}, which it never remembered")
        self.stack.append(self.memo[index])

    def global_name(self) -> None:
        name = Global(f"{self.line()}.{self.line()}")
        if name not in CALLABLE and name not in STORAGES:
            raise Refused(f"names {shown(name)}, which weights do not need; it was not run")
        self.stack.append(name)

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise Refused("calls something that cannot be called")
        if function not in CALLABLE:
            raise Refused(f"calls {function}, which is not a function")
        self.stack.append(CALLABLE[function](*args))

    def build(self) -> None:
        """The attributes of a table: torch keeps `_metadata`, versions of modules, in one."""
        state, table = self.pop(), self.pop()
        if not isinstance(table, dict) or not isinstance(state, dict):
            raise Refused("sets attributes of something that is not a table")
        self.stack.append(table)

    def persistent_id(self) -> None:
        """('storage', kind, key, device, length): the one thing that torch keeps outside."""
        match self.pop():
            case ("storage", Global() as kind, str(key), str(), length) if whole(length):
                if kind not in STORAGES:
                    raise Refused(f"takes {kind} for the kind of a storage")
                storage = Storage(STORAGES[kind], key, length)
            case _:
                raise Refused("refers to something that is not a storage")
        if self.storages.setdefault(key, storage) != storage:
            raise Refused(f"describes the storage {shown(key)} in two ways")
        self.stack.append(storage)


STOP = ord(".")
OPCODES: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.proto,
    ord("("): Machine.mark,
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("K"): lambda m: m.stack.append(m.number("<B")),
    ord("M"): lambda m: m.stack.append(m.number("<H")),
    ord("J"): lambda m: m.stack.append(m.number("<i")),
    0x8A: Machine.long1,
    ord("X"): Machine.text,
    ord(")"): lambda m: m.tuple_of(0),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.stack.append(make_tuple(m.pop_to_mark())),
    ord("}"): lambda m: m.stack.append({}),
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("q"): lambda m: m.put(m.number("<B")),
    ord("r"): lambda m: m.put(m.number("<I")),
    ord("h"): lambda m: m.get(m.number("<B")),
    ord("j"): lambda m: m.get(m.number("<I")),
    ord("c"): Machine.global_name,
    ord("R"): Machine.reduce,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent_id,
}


def read_state_dict(program: bytes, source: object) -> dict[str, View]:
    """The tensors that a pickle of torch.save names. Raises CheckpointError for anything else."""

    def refuse(why: str) -> NoReturn:
        raise CheckpointError(f"{source}: the pickle data.pkl {why}") from None

    try:
        table = Machine(program).run()
    except Refused as error:
        refuse(str(error))
    if not isinstance(table, dict) or not table:
        refuse("holds no table of tensors; save model.state_dict(), not the model")
    for name, value in table.items():
        if not isinstance(value, View):
            refuse(f"holds {shown(name)}, which is not a tensor; save model.state_dict()")
    return table
