// What an optimizer does with a parameter, and what is read of its gradient before.

struct StepNumbers {
    u32 count;
    // Of the means of gradients and of their squares: decay, one minus it, and what removes their bias.
    float old_1, old_2, fresh_1, fresh_2, unbiased_1, unbiased_2;
    float epsilon, clip, rate, keep;
};

// One step of AdamW: the new value, and the moments moved on. The same operations in the same order as in adamw.rs.
extern "C" __global__ void adamw(const float* value, const float* gradient, const float* moment_1, const float* moment_2,
                                 float* out, float* out_1, float* out_2, const __grid_constant__ StepNumbers p) {
    u32 at = blockIdx.x * 256 + threadIdx.x;
    if (at >= p.count) return;
    float slope = gradient[at] * p.clip;
    float mean = moment_1[at] * p.old_1 + slope * p.fresh_1;
    float square = moment_2[at] * p.old_2 + slope * slope * p.fresh_2;
    float root = sqrtf(square / p.unbiased_2);
    out_1[at] = mean, out_2[at] = square;
    out[at] = value[at] * p.keep - mean / p.unbiased_1 / (root + p.epsilon) * p.rate;
}

struct SquaresSizes {
    // Numbers, and which of the sums they belong to.
    u32 count, place;
};

// Adds the squares of 4096 numbers a block to one of the sums. What is not finite stays so.
extern "C" __global__ void squares(const float* x, float* sums, const __grid_constant__ SquaresSizes p) {
    __shared__ float warps[8];
    float sum = 0.0f;
    for (u32 at = blockIdx.x * 4096 + threadIdx.x; at < p.count && at < (blockIdx.x + 1) * 4096; at += 256) sum += x[at] * x[at];
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) warps[threadIdx.x >> 5] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    sum = warp_sum(threadIdx.x < 8 ? warps[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) atomicAdd(sums + p.place, sum);
}
