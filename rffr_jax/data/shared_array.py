"""An array that the worker processes of a machine share with the process that started them."""

import mmap
import os

import numpy as np

SHARED = hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")


class SharedArray:
    """Zeros at first, in memory that every copy of this object on the machine sees.

    A copy is made by pickling, in any process that the first one started; it sees the array as long
    as the first process lives. Memory is taken where something is written. Where the system does
    not have such memory (`SHARED` is false) each process has an array of its own.

    Attributes:
      array: the elements; writing to single elements needs no lock.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]):
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._owner, self._is_copy = os.getpid(), False
        self._bytes = max(1, int(np.prod(shape)) * self._dtype.itemsize)
        if SHARED:
            self._descriptor = os.memfd_create("rffr_jax")
            os.ftruncate(self._descriptor, self._bytes)
            self.array = self._map(self._descriptor)
        else:
            self.array = np.zeros(shape, dtype)

    def __del__(self):
        if SHARED and self._owner == os.getpid() and not self._is_copy:
            os.close(self._descriptor)

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "array"}

    def __setstate__(self, state):
        vars(self).update(state, _is_copy=True)
        if not SHARED:
            self.array = np.zeros(self._shape, self._dtype)
            return
        descriptor = os.open(f"/proc/{self._owner}/fd/{self._descriptor}", os.O_RDWR)
        try:
            self.array = self._map(descriptor)
        finally:
            os.close(descriptor)

    def _map(self, descriptor: int) -> np.ndarray:
        memory = mmap.mmap(descriptor, self._bytes)
        count = int(np.prod(self._shape))
        return np.frombuffer(memory, self._dtype, count).reshape(self._shape)
