// Rounding to rows as rows.cuh has them, on the way of a gradient through dropout, and zeros.

static constexpr int PER_LANE = D / 32;

struct NarrowSizes {
    u32 rows;
    Mask mask;
};

// out = x * mask, rounded; `sums` gets the sums of its columns added.
extern "C" __global__ void narrow(const float* x, u16* out, float* sums, const __grid_constant__ NarrowSizes p) {
    float2 columns[PER_LANE / 2];
    u32 lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < PER_LANE / 2; i++) columns[i] = make_float2(0.0f, 0.0f);
    for (u32 row = blockIdx.x * 8 + (threadIdx.x >> 5); row < p.rows; row += gridDim.x * 8) {
        float2 values[PER_LANE / 2];
#pragma unroll
        for (int i = 0; i < PER_LANE / 2; i++) values[i] = *(const float2*)(x + (u64)row * D + i * 64 + lane * 2);
#pragma unroll
        for (int i = 0; i < PER_LANE / 2; i++) {
            u64 at = (u64)row * D + i * 64 + lane * 2;
            float2 value = values[i];
            if (p.mask.drops()) value.x *= mask_factor(p.mask, (u32)at), value.y *= mask_factor(p.mask, (u32)at + 1);
            put_halves(out + (u64)row * (PARTS * D) + i * 64 + lane * 2, D, value.x, value.y);
            columns[i].x += value.x, columns[i].y += value.y;
        }
    }
    __shared__ float block[D];
    for (u32 at = threadIdx.x; at < D; at += blockDim.x) block[at] = 0.0f;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < PER_LANE / 2; i++) {
        atomicAdd(block + i * 64 + lane * 2, columns[i].x);
        atomicAdd(block + i * 64 + lane * 2 + 1, columns[i].y);
    }
    __syncthreads();
    for (u32 at = threadIdx.x; at < D; at += blockDim.x) atomicAdd(sums + at, block[at]);
}

extern "C" __global__ void zero(float* x, const __grid_constant__ u32 count) {
    for (u32 at = blockIdx.x * 1024 + threadIdx.x; at < count && at < (blockIdx.x + 1) * 1024; at += blockDim.x) x[at] = 0.0f;
}
