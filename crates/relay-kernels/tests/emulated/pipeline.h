// The functions of pipeline.cuh that stand for instructions: barriers, copies of many bytes.
#pragma once
#include "wgmma.h"

inline void barrier_init(u32 barrier, u32 arrivals) { machine::barrier_init(barrier, arrivals); }
inline void barrier_init_fence() {}
inline void barrier_expect(u32 barrier, u32 bytes) { machine::barrier_expect(barrier, bytes); }
inline void barrier_arrive(u32 barrier) { machine::barrier_arrive(barrier); }
inline void barrier_wait(u32 barrier, u32 parity) { machine::barrier_wait(barrier, parity); }

inline void bulk_copy(u32 to, const void* from, u32 bytes, u32 barrier) {
    machine::add({to, from, bytes, barrier});
}
inline void bulk_prefetch(const void* from, u32 bytes) {
    if ((size_t)from % 16 || bytes % 16) machine::forbidden("a prefetch from where nothing is aligned");
}

inline void warpgroup_sync() { machine::meet_warpgroup(); }
inline void fewer_registers() {}
inline void more_registers() {}
