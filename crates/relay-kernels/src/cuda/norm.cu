// Layer norm of rows of D numbers, one warp a row, and its backward pass.
//
// With CHOSEN, row i of what is normalised, of `stats` and of `dy` belongs to row `chosen[i]` of x and dx.
// With WIDE y and dy are f32 instead of rows as rows.cuh has them.

static constexpr int PER_LANE = D / 32;

#if WIDE
typedef float Result;
static constexpr u32 PITCH = D;
__device__ __forceinline__ void put_pair(Result* to, float x, float y) { *(float2*)to = make_float2(x, y); }
__device__ __forceinline__ float2 get_pair(const Result* from) { return *(const float2*)from; }
#else
typedef u16 Result;
static constexpr u32 PITCH = PARTS * D;
__device__ __forceinline__ void put_pair(Result* to, float x, float y) { put_halves(to, D, x, y); }
__device__ __forceinline__ float2 get_pair(const Result* from) { return get_halves(from, D); }
#endif

// A lane holds numbers in pairs, 64 columns apart from one pair to the next.
__device__ __forceinline__ u32 pair_column(int pair) { return pair * 64 + (threadIdx.x & 31) * 2; }

__device__ __forceinline__ u64 row_of(const u32* chosen, u32 row) {
#if CHOSEN
    return chosen[row];
#else
    return row;
#endif
}

struct ForwardSizes {
    u32 rows;
    float epsilon;
};

// y = (x - mean) * rstd * gamma + beta, rounded; `stats` gets mean and rstd of each row.
extern "C" __global__ void norm_forward(const float* x, const float* gamma, const float* beta, const u32* chosen, Result* y,
                                        float* stats, const __grid_constant__ ForwardSizes p) {
    u32 row = blockIdx.x * 8 + (threadIdx.x >> 5);
    if (row >= p.rows) return;
    x += row_of(chosen, row) * D;
    float2 value[PER_LANE / 2];
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE / 2; i++) {
        value[i] = *(const float2*)(x + pair_column(i));
        sum += value[i].x + value[i].y;
    }
    float mean = warp_sum(sum) * (1.0f / D), squares = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_LANE / 2; i++) {
        value[i].x -= mean, value[i].y -= mean;
        squares += value[i].x * value[i].x + value[i].y * value[i].y;
    }
    float rstd = rsqrtf(warp_sum(squares) * (1.0f / D) + p.epsilon);
#pragma unroll
    for (int i = 0; i < PER_LANE / 2; i++) {
        u32 at = pair_column(i);
        float2 scale = *(const float2*)(gamma + at), shift = *(const float2*)(beta + at);
        put_pair(y + (u64)row * PITCH + at, value[i].x * rstd * scale.x + shift.x, value[i].y * rstd * scale.y + shift.y);
    }
    if ((threadIdx.x & 31) == 0) *(float2*)(stats + 2 * (u64)row) = make_float2(mean, rstd);
}

// Adds what each of the block's eight warps holds of every column, `sums[which]`, to `totals[which]`.
template <int COUNT>
__device__ __forceinline__ void add_columns(float2 (&sums)[COUNT][PER_LANE / 2], float* const (&totals)[COUNT]) {
    __shared__ float block[COUNT][D];
    for (u32 at = threadIdx.x; at < COUNT * D; at += blockDim.x) block[at / D][at % D] = 0.0f;
    __syncthreads();
#pragma unroll
    for (int which = 0; which < COUNT; which++) {
#pragma unroll
        for (int i = 0; i < PER_LANE / 2; i++) {
            atomicAdd(&block[which][pair_column(i)], sums[which][i].x);
            atomicAdd(&block[which][pair_column(i) + 1], sums[which][i].y);
        }
    }
    __syncthreads();
    for (u32 at = threadIdx.x; at < COUNT * D; at += blockDim.x) atomicAdd(totals[at / D] + at % D, block[at / D][at % D]);
}

struct BackwardSizes {
    u32 rows;
    Mask mask;
};

// dx = skip + the gradient of the norm's input, `dropped` = dx * mask, rounded; the gradients of scale and shift are added.
// With SCALED all is times a number on the device.
extern "C" __global__ void norm_backward(const Result* dy, const float* x, const float* stats, const float* gamma,
                                         const float* skip, const u32* chosen, const float* scale, float* dx,
                                         u16* dropped, float* dgamma, float* dbeta,
                                         const __grid_constant__ BackwardSizes p) {
    float2 sums[2][PER_LANE / 2], gains[PER_LANE / 2];
#if SCALED
    float factor = *scale;
#else
    constexpr float factor = 1.0f;
#endif
#pragma unroll
    for (int i = 0; i < PER_LANE / 2; i++) {
        sums[0][i] = sums[1][i] = make_float2(0.0f, 0.0f);
        gains[i] = *(const float2*)(gamma + pair_column(i));
    }
    for (u32 row = blockIdx.x * 8 + (threadIdx.x >> 5); row < p.rows; row += gridDim.x * 8) {
        float2 moments = *(const float2*)(stats + 2 * (u64)row);
        u64 place = row_of(chosen, row) * D;
        float2 normal[PER_LANE / 2], grad[PER_LANE / 2];
#if SKIP
        // Asked for before it is needed: to wait once for the memory.
        float2 beside[PER_LANE / 2];
#pragma unroll
        for (int i = 0; i < PER_LANE / 2; i++) beside[i] = *(const float2*)(skip + place + pair_column(i));
#endif
        float along = 0.0f, mean = 0.0f;
#pragma unroll
        for (int i = 0; i < PER_LANE / 2; i++) {
            float2 value = *(const float2*)(x + place + pair_column(i));
            float2 out = get_pair(dy + (u64)row * PITCH + pair_column(i));
            out.x *= factor, out.y *= factor;
            normal[i] = make_float2((value.x - moments.x) * moments.y, (value.y - moments.x) * moments.y);
            sums[0][i].x += out.x * normal[i].x, sums[0][i].y += out.y * normal[i].y;
            sums[1][i].x += out.x, sums[1][i].y += out.y;
            grad[i] = make_float2(out.x * gains[i].x, out.y * gains[i].y);
            mean += grad[i].x + grad[i].y;
            along += grad[i].x * normal[i].x + grad[i].y * normal[i].y;
        }
        mean = warp_sum(mean) * (1.0f / D), along = warp_sum(along) * (1.0f / D);
#pragma unroll
        for (int i = 0; i < PER_LANE / 2; i++) {
            u64 at = place + pair_column(i);
            float2 out = make_float2((grad[i].x - mean - normal[i].x * along) * moments.y,
                                     (grad[i].y - mean - normal[i].y * along) * moments.y);
#if SKIP
            out.x += beside[i].x, out.y += beside[i].y;
#endif
            *(float2*)(dx + at) = out;
#if DROPPED
            if (p.mask.drops()) out.x *= mask_factor(p.mask, (u32)at), out.y *= mask_factor(p.mask, (u32)at + 1);
            put_halves(dropped + place * PARTS + pair_column(i), D, out.x, out.y);
#endif
        }
    }
    float* const totals[2] = {dgamma, dbeta};
    add_columns(sums, totals);
}
