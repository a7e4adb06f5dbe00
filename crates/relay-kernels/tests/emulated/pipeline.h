// The functions of pipeline.cuh that stand for instructions: barriers, copies of many bytes, clusters of blocks.
#pragma once
#include "wgmma.h"

inline void barrier_init(u32 barrier, u32 arrivals) { machine::barrier_init(barrier, arrivals); }
inline void barrier_init_fence() {}
inline void barrier_expect(u32 barrier, u32 bytes) { machine::barrier_expect(barrier, bytes); }
inline void barrier_arrive(u32 barrier, u32 rank) { machine::barrier_arrive(barrier, rank); }
inline void barrier_wait(u32 barrier, u32 parity) { machine::barrier_wait(barrier, parity); }

inline void bulk_copy(u32 to, const void* from, u32 bytes, u32 barrier) {
    machine::add({machine::rank(), to, from, bytes, barrier});
}
inline void bulk_copy_to_all(u32 to, const void* from, u32 bytes, u32 barrier) {
    for (u32 rank = 0; rank < CLUSTER; rank++) machine::add({rank, to, from, bytes, barrier});
}
inline void bulk_prefetch(const void* from, u32 bytes) {
    if ((size_t)from % 16 || bytes % 16) machine::forbidden("a prefetch from where nothing is aligned");
}

inline u32 cluster_rank() { return machine::rank(); }
inline void cluster_sync() { machine::meet_cluster(); }
inline void warpgroup_sync() { machine::meet_warpgroup(); }
inline void second_waits() { machine::meet_second(true); }
inline void second_goes() { machine::meet_second(false); }
inline void fewer_registers() {}
inline void more_registers() {}
