"""Several trainings at once on one GPU, for benchmarks/gpu.py: in processes and in streams."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.gpu_cases import MODES, TOY, Bench, Row, Task, new_trainer, stepper, take_steps
from benchmarks.throughput import synchronize, time_calls
from model.networks.arithmetic import float32_products
from model.training.captured import WARM_STEPS


def at_once(bench: Bench) -> Iterator[Row]:
    """Several trainings on one GPU: in processes, and in streams of one process."""
    workers = [Worker() for _ in range(max(bench.scale.counts))]
    cases = [(t, m, n) for t in bench.scale.shared for m in MODES for n in bench.scale.counts]
    try:
        yield from bench.cases([partial(processes_case, bench, workers, *case) for case in cases])
    finally:
        for worker in workers:
            worker.close()
    yield from bench.cases([partial(streams_case, bench, *case) for case in cases])


class Worker:
    """A process that trains on request: it prints when it is ready, and then how many steps."""

    def __init__(self) -> None:
        words = [sys.executable, __file__, "--worker"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, message: Any) -> None:
        """Send a message to the process."""
        assert self.process.stdin is not None
        print(json.dumps(message), file=self.process.stdin, flush=True)

    def receive(self) -> Any:
        """Wait for the answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"worker ended with code {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def work() -> None:
    """Do what Worker's process does."""
    for line in sys.stdin:
        request = json.loads(line)
        task = Task(**request["task"] | {"widths": tuple(request["task"]["widths"])})
        device = torch.device(request["device"])
        bench = Bench(device=device, scale=TOY, precisions=["fp32"], ends=0)
        trainer = new_trainer(bench, task, "fp32", request["mode"])
        take_steps(trainer, WARM_STEPS + 2, "fp32")
        synchronize(device)
        print(json.dumps("ready"), flush=True)
        seconds = json.loads(sys.stdin.readline())
        started, step, steps = time.perf_counter(), stepper(trainer), 0
        with float32_products("fp32"):
            while time.perf_counter() - started < seconds:
                step()
                steps += 1
                if steps % 20 == 0:
                    synchronize(device)
        synchronize(device)
        print(json.dumps(steps / (time.perf_counter() - started)), flush=True)


def processes_case(bench: Bench, workers: list[Worker], task: Task, mode: str, count: int) -> Row:
    """Train in `count` processes at the same time."""
    try:
        return ask_workers(bench, workers[:count], task, mode)
    except (RuntimeError, OSError):
        # The others wait for messages that do not come.
        for worker in workers:
            worker.close()
        workers[:] = [Worker() for _ in workers]
        raise


def ask_workers(bench: Bench, workers: list[Worker], task: Task, mode: str) -> Row:
    """Train in all of these processes at the same time."""
    request = {"task": asdict(task), "mode": mode, "device": str(bench.device)}
    for worker in workers:
        worker.send(request)
    for worker in workers:
        worker.receive()
    for worker in workers:
        worker.send(bench.scale.seconds)
    speeds = [worker.receive() for worker in workers]
    return shared_row(task, mode, "processes", len(workers), sum(speeds))


def streams_case(bench: Bench, task: Task, mode: str, count: int) -> Row:
    """Train `count` networks in turn, each in a stream of its own."""
    on_gpu = bench.device.type == "cuda"
    streams = [
        torch.cuda.stream(torch.cuda.Stream(bench.device)) if on_gpu else nullcontext()
        for _ in range(count)
    ]
    steps = []
    for stream in streams:
        with stream:
            trainer = new_trainer(bench, task, "fp32", mode)
            take_steps(trainer, WARM_STEPS + 2, "fp32")
            steps.append(stepper(trainer))

    def step_all() -> None:
        for stream, step in zip(streams, steps, strict=True):
            with stream:
                step()

    synchronize(bench.device)
    with float32_products("fp32"):
        units = time_calls(step_all, bench.device, bench.scale.seconds)
    return shared_row(task, mode, "streams", count, count / median(units))


def shared_row(task: Task, mode: str, how: str, count: int, steps_per_second: float) -> Row:
    """The row of several trainings at once."""
    speed = steps_per_second * task.batch
    return {**asdict(task), "mode": mode, "how": how, "count": count, "images_per_second": speed}


if __name__ == "__main__":
    work()
