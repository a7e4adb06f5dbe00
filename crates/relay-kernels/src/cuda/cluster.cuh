// Blocks of a cluster that write to each other's shared memory.
//
// Stands behind barrier.cuh in front of the files that need it.

#ifndef RELAY_EMULATED
__device__ __forceinline__ u32 cluster_rank() {
    u32 rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
// Waits for all threads of the cluster.
__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}
// Waits for `threads` threads of the block, those that name the same `barrier`, from 1 on.
__device__ __forceinline__ void some_sync(u32 barrier, u32 threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// What is at this address in the shared memory of another block of the cluster.
__device__ __forceinline__ u32 remote(u32 address, u32 rank) {
    u32 mapped;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
    return mapped;
}
// Writes to a remote address, and tells a barrier in the same block when it has arrived.
__device__ __forceinline__ void send16(u32 to, uint4 value, u32 barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(barrier)
                 : "memory");
}
__device__ __forceinline__ void send4(u32 to, u32 value, u32 barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to), "r"(value),
                 "r"(barrier)
                 : "memory");
}

// Copies in the background find what this thread has written before.
__device__ __forceinline__ void all_for_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }
// What this thread has written to global memory can be read by copies that begin after a barrier.
__device__ __forceinline__ void written_for_copies() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

__device__ __forceinline__ void ldmatrix_x2(u32& a, u32& b, u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(address));
}
#endif
