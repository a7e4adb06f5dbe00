// The functions of barrier.cuh that stand for single instructions: barriers, copies of many bytes.
#pragma once
#include "instructions.h"

inline void barrier_init(u32 barrier, u32 arrivals) { machine::init_barrier(barrier, arrivals); }
inline void barriers_initialised() {}
inline void barrier_arrive(u32 barrier) { machine::arrive(barrier, 1, 0); }
inline void barrier_expect(u32 barrier, u32 bytes) { machine::arrive(barrier, 1, bytes); }
inline void barrier_wait(u32 barrier, u32 parity) { machine::wait(barrier, parity); }

inline void bulk_copy(u32 to, const void* from, u32 bytes, u32 barrier) { machine::copy_bulk(to, from, bytes, barrier); }
inline void bulk_prefetch(const void* from, u32 bytes) {
    if ((size_t)from % 16 || bytes % 16) machine::forbidden("a prefetch from where nothing is aligned");
}
