"""Services and actions that wait for work of other threads, without holding up the executor."""

from __future__ import annotations

from concurrent.futures import Future as WorkFuture
from typing import TypeVar

from rclpy.node import Node
from rclpy.task import Future

R = TypeVar('R')


async def result_of(node: Node, work: WorkFuture[R]) -> R:
    """
    Wait for work in a coroutine of a node's executor.

    :returns: what the work returned.
    :raises Exception: what the work raised.
    """
    executor = node.executor
    future: Future[None] = Future(executor=executor)

    def resume(_: WorkFuture[R]) -> None:
        future.set_result(None)
        executor.wake()

    work.add_done_callback(resume)
    await future
    return work.result()
