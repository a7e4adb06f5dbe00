// The functions of pipeline.cuh that stand for instructions: barriers, copies of many bytes.
#pragma once
#include "wgmma.h"

inline void barrier_init_fence() {}
inline void barrier_expect(u32 barrier, u32 bytes) { machine::arrive(barrier, 1, bytes); }
inline void bulk_copy(u32 to, const void* from, u32 bytes, u32 barrier) { machine::copy_bulk(to, from, bytes, barrier); }
inline void bulk_prefetch(const void* from, u32 bytes) {
    if ((size_t)from % 16 || bytes % 16) machine::forbidden("a prefetch from where nothing is aligned");
}

inline void warpgroup_sync() { machine::meet_some(1 + threadIdx.x / 128, 128); }
