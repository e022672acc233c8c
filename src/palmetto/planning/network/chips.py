"""Published figures of accelerator chips. No figure is fitted to a measured run."""

from typing import NamedTuple


class Chip(NamedTuple):
    """The peak figures of one chip. Bandwidths are in bytes/s in one direction."""

    title: str
    flops: float
    """Dense FLOP/s in bfloat16."""
    memory: int
    """The published bytes of main memory."""
    usable: int
    """The bytes that a program may use: for TPUs those that the compiler names as available, for GPUs the published."""
    memory_bandwidth: float
    link_bandwidth: float
    """The bandwidth of one link to a neighbour (TPU), or of all links into a node's switch (GPU)."""
    pod_bandwidth: float
    """A chip's share of the bandwidth between pods."""
    clock: float | None
    """Cycles/s of the matrix units, which turn the compiler's cycles into seconds, or None if not published."""
    sources: tuple[str, ...]
    """The publications of these figures."""


class TPU(Chip):
    """A TPU. Chips of a slice form a torus or mesh; hosts share the data-centre network (DCN)."""


class GPU(Chip):
    """A GPU. Nodes of 8 have a switch (NVLink); between nodes each GPU has a network card (InfiniBand)."""


GiB = 2**30
Gbit = 1e9 / 8
GPUS_IN_A_NODE = 8

_HOST_NETWORK = (
    "DCN: about 2.5e10 bytes/s a host of 4 chips (How to Scale Your Model, part 2), which is the 50 Gbit/s a chip that "
    "Cloud documents for v5p"
)

CHIPS: dict[str, Chip] = {
    "v4": TPU(
        title="TPU v4",
        flops=275e12,
        memory=32 * GiB,
        usable=round(30.75 * GiB),
        memory_bandwidth=1200e9,
        link_bandwidth=50e9,
        pod_bandwidth=50 * Gbit,
        clock=1.05e9,
        sources=(
            "Cloud TPU v4 documentation: 275 TFLOP/s, 32 GiB of HBM at 1200 GB/s, 3D torus",
            "TPU v4 (arXiv 2304.01433), table 4: 6 links of 50 GB/s, 1050 MHz",
            _HOST_NETWORK,
        ),
    ),
    "v5p": TPU(
        title="TPU v5p",
        flops=459e12,
        memory=95 * GiB,
        usable=round(95.74 * GiB),
        memory_bandwidth=2765e9,
        link_bandwidth=100e9,
        pod_bandwidth=50 * Gbit,
        clock=1.75e9,
        sources=(
            "Cloud TPU v5p documentation: 459 TFLOP/s, 95 GiB of HBM at 2765 GB/s, 1200 GB/s of interconnect both ways "
            "together over 6 links, DCN 50 Gbit/s a chip",
            "How to Scale Your Model, part 2: 8 matrix units of 128 × 128, so that the peak is reached at 1.75 GHz",
        ),
    ),
    "v5e": TPU(
        title="TPU v5e",
        flops=197e12,
        memory=16 * GiB,
        usable=round(15.75 * GiB),
        memory_bandwidth=819e9,
        link_bandwidth=50e9,
        pod_bandwidth=25 * Gbit,
        clock=1.5e9,
        sources=(
            "Cloud TPU v5e documentation: 197 TFLOP/s, 16 GB of HBM at 819 GB/s, 400 GB/s of interconnect both ways "
            "together over 4 ports, DCN 6.4 Tbit/s a pod of 256; these GB of HBM are GiB, by the compiler",
            "How to Scale Your Model, part 2: 1.5 GHz",
        ),
    ),
    "v6e": TPU(
        title="TPU v6e",
        flops=918e12,
        memory=32 * GiB,
        usable=round(31.25 * GiB),
        memory_bandwidth=1638e9,
        link_bandwidth=100e9,
        pod_bandwidth=100 * Gbit,
        clock=None,
        sources=(
            "Cloud TPU v6e documentation: 918 TFLOP/s, 32 GB of HBM at 1638 GB/s, 800 GB/s of interconnect both ways "
            "together over 4 ports, DCN 25.6 Tbit/s a pod of 256; these GB of HBM are GiB, by the compiler",
        ),
    ),
    "a100": GPU(
        title="NVIDIA A100 80GB SXM",
        flops=312e12,
        memory=80 * 10**9,
        usable=80 * 10**9,
        memory_bandwidth=2039e9,
        link_bandwidth=300e9,
        pod_bandwidth=200 * Gbit,
        clock=None,
        sources=(
            "NVIDIA A100 datasheet: 312 TFLOP/s, 80 GB at 2039 GB/s, NVLink 600 GB/s both ways together",
            "DGX A100 datasheet: a 200 Gbit/s InfiniBand card a GPU",
        ),
    ),
    "h100": GPU(
        title="NVIDIA H100 SXM",
        flops=989e12,
        memory=80 * 10**9,
        usable=80 * 10**9,
        memory_bandwidth=3350e9,
        link_bandwidth=450e9,
        pod_bandwidth=400 * Gbit,
        clock=None,
        sources=(
            "NVIDIA H100 datasheet: 989 TFLOP/s dense, 80 GB at 3.35 TB/s, NVLink 900 GB/s both ways together",
            "DGX H100 datasheet: a 400 Gbit/s InfiniBand card a GPU",
        ),
    ),
    "h200": GPU(
        title="NVIDIA H200 SXM",
        flops=989e12,
        memory=141 * 10**9,
        usable=141 * 10**9,
        memory_bandwidth=4800e9,
        link_bandwidth=450e9,
        pod_bandwidth=400 * Gbit,
        clock=None,
        sources=(
            "NVIDIA H200 datasheet: 989 TFLOP/s dense, 141 GB at 4.8 TB/s, NVLink 900 GB/s both ways together",
            "DGX H200 datasheet: a 400 Gbit/s InfiniBand card a GPU",
        ),
    ),
}
"""The chips by the name with which a topology begins."""
