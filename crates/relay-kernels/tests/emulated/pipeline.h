// The function of pipeline.cuh that stands for an instruction.
#pragma once
#include "wgmma.h"

inline void warpgroup_sync() { machine::meet_some(1 + threadIdx.x / 128, 128); }
