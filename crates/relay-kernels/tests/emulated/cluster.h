// The functions of cluster.cuh that stand for single instructions, done by lanes that are fibers.
#pragma once
#include "instructions.h"

inline u32 cluster_rank() { return machine::rank(); }
inline void cluster_sync() { machine::meet_cluster(); }
inline void some_sync(u32 barrier, u32 threads) {
    if (barrier == 0 || barrier > 15 || threads % 32) machine::forbidden("a barrier that no device has");
    machine::meet_some(barrier, threads);
}

inline u32 remote(u32 address, u32 rank) { return machine::map_shared(address, rank); }
template <typename T>
inline void send(u32 to, T value, u32 barrier) {
    if (to / machine::SHARED_BYTES != barrier / machine::SHARED_BYTES) machine::forbidden("a barrier in another block");
    void* place = machine::at_shared(to, sizeof value);
    machine::in_background(barrier, sizeof value, [=] { memcpy(place, &value, sizeof value); });
}
inline void send16(u32 to, uint4 value, u32 barrier) { send<uint4>(to, value, barrier); }
inline void send4(u32 to, u32 value, u32 barrier) { send<u32>(to, value, barrier); }

inline void barrier_init(u32 barrier, u32 arrivals) { machine::init_barrier(barrier, arrivals); }
inline void barriers_initialised() {}
inline void barrier_arrive(u32 barrier, u32 arrivals) { machine::arrive(barrier, arrivals, 0); }
inline void barrier_expect(u32 barrier, u32 bytes) { machine::arrive(barrier, 1, bytes); }
inline void barrier_wait(u32 barrier, u32 parity) { machine::wait(barrier, parity); }

inline void copy_bulk(u32 to, const void* from, u32 bytes, u32 barrier) { machine::copy_bulk(to, from, bytes, barrier); }
inline void written_for_copies() {}
