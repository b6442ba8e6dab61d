"""The sizes of the blocks and tasks into which objects are divided."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of blocks and tasks.

    Attributes:
        block_bytes: How much is read and reduced at a time. Large enough that a block's fixed cost is small (some 15 µs
            of Python, during which no other thread of the process has the interpreter), small enough for a core's L2
            cache, and a multiple of every element's size.
        task_bytes: How much a task of a large object reads: enough to be worth a request of its own.
        fewest_tasks: An object of fewer tasks is not cut. Four tasks are 32 MiB, which is worth losing a connection:
            the request's own stream is then not read to its end.
        most_tasks: The maximum number of tasks of an object, since results wait for those before them.
    """

    block_bytes: int = 1024 * 1024
    task_bytes: int = 8 * 1024 * 1024
    fewest_tasks: int = 4
    most_tasks: int = 256
