"""Jobs of many requests, done together."""

import asyncio
import sys
import time

import pytest

from rain.deploy.batching import Batcher, BusyError


def doubled(jobs: list[int]) -> list[int | Exception]:
    return [ValueError(str(job)) if job < 0 else 2 * job for job in jobs]


def test_jobs_are_done_together_in_their_order() -> None:
    sizes: list[int] = []

    async def run() -> list[list[int]]:
        batcher = Batcher(doubled, most=4, wait_seconds=0.2, room=99, note=sizes.append)
        batcher.start()
        answers = await asyncio.gather(*(batcher.ask([number, 10 * number]) for number in range(5)))
        await batcher.close()
        return answers

    assert asyncio.run(run()) == [[2 * number, 20 * number] for number in range(5)]
    assert sizes == [4, 4, 2]


def test_a_lonely_job_does_not_wait_longer_than_it_must() -> None:
    async def run() -> float:
        batcher = Batcher(doubled, most=4, wait_seconds=0.01, room=9)
        batcher.start()
        start = time.monotonic()
        await batcher.ask([1])
        seconds = time.monotonic() - start
        await batcher.close()
        return seconds

    assert asyncio.run(run()) < 5


def test_one_that_fails_leaves_the_others() -> None:
    async def run() -> list[object]:
        batcher = Batcher(doubled, most=3, wait_seconds=0.05, room=9)
        batcher.start()
        jobs = [batcher.ask([job]) for job in (1, -1, 3)]
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        await batcher.close()
        return list(answers)

    first, second, third = asyncio.run(run())
    assert (first, third) == ([2], [6])
    assert isinstance(second, ValueError)


def test_a_model_that_calls_exit_ends_its_batch_alone() -> None:
    def leaving(jobs: list[int]) -> list[int]:
        if jobs == [0]:
            sys.exit(3)
        return jobs

    async def run() -> list[object]:
        batcher = Batcher(leaving, most=1, wait_seconds=0.0, room=9)
        batcher.start()
        answers = await asyncio.gather(batcher.ask([0]), batcher.ask([1]), return_exceptions=True)
        await batcher.close()
        return list(answers)

    first, second = asyncio.run(asyncio.wait_for(run(), 20))
    assert isinstance(first, RuntimeError)
    assert second == [1]


def test_close_finishes_what_was_taken_and_takes_no_more() -> None:
    def slowly(jobs: list[int]) -> list[int]:
        time.sleep(0.05)
        return jobs

    async def run() -> tuple[list[list[int]], int]:
        batcher = Batcher(slowly, most=1, wait_seconds=0.0, room=3)
        batcher.start()
        waiting = [asyncio.create_task(batcher.ask([job])) for job in range(3)]
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await batcher.ask([9])
        answers = await asyncio.gather(*waiting)
        await closing
        return answers, len(batcher.waiting)

    assert asyncio.run(run()) == ([[0], [1], [2]], 0)


def test_jobs_that_nobody_waits_for_are_not_done() -> None:
    seen: list[int] = []

    def work(jobs: list[int]) -> list[int]:
        seen.extend(jobs)
        time.sleep(0.05)
        return jobs

    async def run() -> None:
        batcher = Batcher(work, most=1, wait_seconds=0.0, room=9)
        batcher.start()
        first, second, third = (asyncio.create_task(batcher.ask([job])) for job in range(3))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.gather(first, third)
        await batcher.close()

    asyncio.run(run())
    assert seen == [0, 2]
