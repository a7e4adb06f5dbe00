// The functions of cluster.cuh that stand for single instructions, done by lanes that are fibers.
#pragma once
#include "barrier.h"

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

inline void all_for_copies() {}
inline void written_for_copies() {}
