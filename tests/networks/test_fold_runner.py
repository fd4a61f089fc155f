from __future__ import annotations

from lib.networks.fold_runner import Place
from lib.networks.progress import Epoch


class TestRoomOnAGpu:
    def test_as_many_folds_run_side_by_side_as_its_free_memory_holds(self) -> None:
        gpu = Place("cuda", {}, most=5)
        assert gpu.capacity == 1
        gpu.learn(0, Epoch(epoch=1, loss=0.0, dice=0.0, gpu_free=30 * 2**30, gpu_needed=8 * 2**30))
        assert gpu.capacity == 4
        gpu.learn(0, Epoch(epoch=2, loss=0.0, dice=0.0, gpu_free=2**30, gpu_needed=8 * 2**30))
        assert gpu.capacity == 4

    def test_a_full_gpu_and_a_cpu_take_one(self) -> None:
        gpu, cpu = Place("cuda", {}, most=5), Place("cpu", {}, most=5)
        gpu.learn(0, Epoch(epoch=1, loss=0.0, dice=0.0, gpu_free=2**30, gpu_needed=8 * 2**30))
        cpu.learn(0, Epoch(epoch=1, loss=0.0, dice=0.0))
        assert gpu.capacity == cpu.capacity == 1
