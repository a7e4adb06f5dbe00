// What is behind attention in a layer without a backward pass, and the choice of tokens: norms, products and what follows
// them in one.
//
// A block takes tiles of 128 rows, one after the other. A warpgroup has 64 of them, whose normalised numbers it keeps in
// shared memory as the left operand of its products. A thread holds of its warp's 16 rows two, eight apart, and of each
// eight columns two: of rows of the stream, of sums, and of the operands that sums become.

static constexpr u32 DEPTH = D / SLICE;
static constexpr u32 PARTS = (D + TILE - 1) / TILE;
static constexpr u32 GROUPS = D / 8;

// A tile's rows, the slabs, two barriers for the rows, and vectors.
static constexpr u32 ROWS_READY = DEPTH * SLAB + Ring::BYTES, ROWS_READ = ROWS_READY + 8, VECTORS = ROWS_READ + 8;

// Rows of the stream, in f32, as the sums of PARTS products.
typedef float Stream[PARTS][64];

// The first of a thread's two rows in a tile, and the first of its two columns among eight.
__device__ __forceinline__ u32 own_row() { return (threadIdx.x >> 5) * 16 + ((threadIdx.x & 31) >> 2); }
__device__ __forceinline__ u32 own_column() { return (threadIdx.x & 3) * 2; }

// Where the left operand has a pair of numbers, in a tile.
__device__ __forceinline__ u32 place_of(u32 row, u32 column) {
    return column / SLICE * SLAB + row * 128 + ((column / 8 ^ row) & 7) * 16 + column % 8 * 2;
}

// Writes rows of the stream, normalised or only rounded, to the tile as a left operand: a warp its 16, one after the other.
template <bool NORMALISE>
__device__ __forceinline__ void load_operand(const float* x, const float* gamma, const float* beta, float epsilon,
                                             u32 first, u32 rows, unsigned char* tile) {
    u32 own = (threadIdx.x >> 5) * 16, column = (threadIdx.x & 31) * 2;
    float2 value[16][DEPTH];
#pragma unroll
    for (u32 row = 0; row < 16; row++) {
        u32 line = first + own + row;
#pragma unroll
        for (u32 i = 0; i < DEPTH; i++) {
            value[row][i] = make_float2(0.0f, 0.0f);
            if (line < rows) value[row][i] = *(const float2*)(x + (u64)line * D + i * 64 + column);
        }
    }
    float2 scale[DEPTH], shift[DEPTH];
#pragma unroll
    for (u32 i = 0; NORMALISE && i < DEPTH; i++) {
        scale[i] = *(const float2*)(gamma + i * 64 + column);
        shift[i] = *(const float2*)(beta + i * 64 + column);
    }
#pragma unroll
    for (u32 row = 0; row < 16; row++) {
        if (NORMALISE) {
            float sum = 0.0f, squares = 0.0f;
#pragma unroll
            for (u32 i = 0; i < DEPTH; i++) sum += value[row][i].x + value[row][i].y;
            float mean = warp_sum(sum) * (1.0f / D);
#pragma unroll
            for (u32 i = 0; i < DEPTH; i++) {
                value[row][i].x -= mean, value[row][i].y -= mean;
                squares += value[row][i].x * value[row][i].x + value[row][i].y * value[row][i].y;
            }
            float rstd = rsqrtf(warp_sum(squares) * (1.0f / D) + epsilon);
#pragma unroll
            for (u32 i = 0; i < DEPTH; i++) {
                value[row][i].x = value[row][i].x * rstd * scale[i].x + shift[i].x;
                value[row][i].y = value[row][i].y * rstd * scale[i].y + shift[i].y;
            }
        }
#pragma unroll
        for (u32 i = 0; i < DEPTH; i++)
            *(u32*)(tile + place_of(own + row, i * 64 + column)) = pack_bf16(value[row][i].x, value[row][i].y);
    }
    shared_fence();
    warpgroup_sync();
}

__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// The same with rows that are sums, which they stay.
__device__ __forceinline__ void write_operand(const Stream& x, const float* gamma, const float* beta, float epsilon,
                                              unsigned char* tile) {
    float mean[2], rstd[2];
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (u32 group = 0; group < GROUPS; group++) {
            const float* pair = x[group / 16] + group % 16 * 4 + half * 2;
            sum += pair[0] + pair[1];
        }
        mean[half] = quad_sum(sum) * (1.0f / D);
#pragma unroll
        for (u32 group = 0; group < GROUPS; group++) {
            const float* pair = x[group / 16] + group % 16 * 4 + half * 2;
            float a = pair[0] - mean[half], b = pair[1] - mean[half];
            squares += a * a + b * b;
        }
        rstd[half] = rsqrtf(quad_sum(squares) * (1.0f / D) + epsilon);
        // The same number, which the compiler cannot know: there are no registers to keep all differences in.
        mean[half] = __shfl_xor_sync(0xffffffffu, mean[half], 1);
    }
#pragma unroll
    for (u32 group = 0; group < GROUPS; group++) {
        u32 column = group * 8 + own_column();
        float2 scale = *(const float2*)(gamma + column), shift = *(const float2*)(beta + column);
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const float* pair = x[group / 16] + group % 16 * 4 + half * 2;
            float a = (pair[0] - mean[half]) * rstd[half] * scale.x + shift.x;
            float b = (pair[1] - mean[half]) * rstd[half] * scale.y + shift.y;
            *(u32*)(tile + place_of(own_row() + 8 * half, column)) = pack_bf16(a, b);
        }
    }
    shared_fence();
    warpgroup_sync();
}

// Of 16 columns of a row, a thread and its neighbour have two each in both groups of eight. To read and write memory one
// takes four in a row of the first group, the other one of the second.
__device__ __forceinline__ u32 four_column() { return (threadIdx.x & 1) * 8 + (threadIdx.x & 2) * 2; }
__device__ __forceinline__ float4 exchanged(float4 x) {
    bool odd = threadIdx.x & 1;
    float a = __shfl_xor_sync(0xffffffffu, odd ? x.x : x.z, 1), b = __shfl_xor_sync(0xffffffffu, odd ? x.y : x.w, 1);
    return odd ? make_float4(a, b, x.z, x.w) : make_float4(x.x, x.y, a, b);
}

__device__ __forceinline__ void load_rows(Stream& to, const float* x, u32 line, u32 rows) {
    float4 four[GROUPS];
#pragma unroll
    for (u32 i = 0; i < GROUPS; i++) {
        u32 at = line + i % 2 * 8;
        four[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (at < rows) four[i] = *(const float4*)(x + (u64)at * D + i / 2 * 16 + four_column());
    }
#pragma unroll
    for (u32 i = 0; i < GROUPS; i++) {
        float4 own = exchanged(four[i]);
        float* place = to[i / 16] + i / 2 % 8 * 8 + i % 2 * 2;
        place[0] = own.x, place[1] = own.y, place[4] = own.z, place[5] = own.w;
    }
}

// Writes sums, with a vector added to each row.
__device__ __forceinline__ void store_rows(const Stream& sum, const float* vector, float* out, u32 line, u32 rows) {
#pragma unroll
    for (u32 group = 0; group < GROUPS; group += 2) {
        float4 shift = *(const float4*)(vector + group * 8 + four_column());
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const float* from = sum[group / 16] + group % 16 * 4 + half * 2;
            float4 four = exchanged(make_float4(from[0], from[1], from[4], from[5]));
            four.x += shift.x, four.y += shift.y, four.z += shift.z, four.w += shift.w;
            u32 at = line + 8 * half;
            if (at < rows) *(float4*)(out + (u64)at * D + group * 8 + four_column()) = four;
        }
    }
}

// GELU without its slope: x times the normal distribution up to x.
__device__ __forceinline__ float gelu(float x) {
    float size = fabsf(x);
    return fmaxf(x, 0.0f) - size * (normal_tail(size) * bell_of(x));
}

// Prepares barriers, for all threads of the block.
__device__ __forceinline__ void begin(const Ring& ring, u32 base) {
    if (threadIdx.x == 0) {
        ring.init();
        barrier_init(base + ROWS_READY, 1);
        barrier_init(base + ROWS_READ, CONSUMERS);
        barriers_initialised();
    }
    __syncthreads();
}

// `each(first)` for the first rows of the tiles that this block takes.
template <typename Each>
__device__ __forceinline__ void each_tile(u32 rows, Each each) {
    for (u32 tile = blockIdx.x; tile * TILE < rows; tile += gridDim.x) each(tile * TILE);
}

// Brings the stream's rows of a tile closer.
__device__ __forceinline__ void prefetch_tile(const float* x, u32 first, u32 rows) {
    if (first_lane() && first < rows) bulk_prefetch(x + (u64)first * D, min(rows - first, TILE) * D * 4);
}

struct MlpSizes {
    u32 rows, m;
    float epsilon;
};

// after = x + attended * output;  out = after + gelu(norm(after) * up + up_bias) * down + down_bias
//
// `attended` is in slabs, those of a tile's rows one after the other. `weights` are in slabs too: of `output` and `down` a
// row of slabs after the other, of `up` a column of them.
#ifdef KERNEL_project_mlp
extern "C" __global__ void __launch_bounds__(THREADS, 1)
project_mlp(const u16* attended, const float* x, const float* gamma, const float* beta, const float* up_bias,
            const float* down_bias, const u16* output, const u16* up, const u16* down, float* out,
            const __grid_constant__ MlpSizes p) {
    extern __shared__ __align__(1024) unsigned char shared[];
    u32 base = smem_address(shared), chunks = p.m / TILE;
    Ring ring(base + DEPTH * SLAB);
    // Vectors are read again and again.
    float *scale = (float*)(shared + VECTORS), *shift = scale + D, *added = shift + D, *added_up = added + D;
    for (u32 at = threadIdx.x; at < D; at += THREADS) scale[at] = gamma[at], shift[at] = beta[at], added[at] = down_bias[at];
    for (u32 at = threadIdx.x; at < p.m; at += THREADS) added_up[at] = up_bias[at];
    begin(ring, base);
    u32 turn = 0;
    if (producing()) {
        fewer_registers<24>();
        if (producer()) prefetch_tile(x, blockIdx.x * TILE, p.rows);
        if (producer()) each_tile(p.rows, [&](u32 first) {
            barrier_wait(base + ROWS_READ, turn ^ 1);
            if (first_lane()) {
                barrier_expect(base + ROWS_READY, DEPTH * SLAB);
                bulk_copy(base, attended + (u64)first * D, DEPTH * SLAB, base + ROWS_READY);
            }
            turn ^= 1;
            ring.fill(output, DEPTH * PARTS);
            prefetch_tile(x, first + gridDim.x * TILE, p.rows);
            for (u32 chunk = 0; chunk < chunks; chunk++) {
                ring.fill(up + (u64)chunk * DEPTH * SLAB / 2, DEPTH);
                ring.fill(down + (u64)chunk * 2 * PARTS * SLAB / 2, 2 * PARTS);
            }
        });
    } else {
        more_registers<240>();
        u32 own = base + (threadIdx.x >> 7) * 64 * 128;
        each_tile(p.rows, [&](u32 first) {
            Stream sum;
            u32 line = first + own_row();
            load_rows(sum, x, line, p.rows);
            barrier_wait(base + ROWS_READY, turn);
            turn ^= 1;
#pragma unroll
            for (u32 slice = 0; slice < DEPTH; slice++) {
#pragma unroll
                for (u32 part = 0; part < PARTS; part++) ring.multiply(sum[part], own + slice * SLAB);
                if (slice > 0) ring.settle<PARTS>();
            }
            ring.settle();
#pragma unroll
            for (u32 part = 0; part < PARTS; part++) wgmma_results(sum[part]);
            // All of the warpgroup has multiplied with what is overwritten now.
            warpgroup_sync();
            write_operand(sum, scale, shift, p.epsilon, shared);
            for (u32 chunk = 0; chunk < chunks; chunk++) {
                float hidden[64];
#pragma unroll
                for (u32 group = 0; group < 16; group++) {
                    float2 before = *(const float2*)(added_up + chunk * TILE + group * 8 + own_column());
                    hidden[4 * group] = hidden[4 * group + 2] = before.x;
                    hidden[4 * group + 1] = hidden[4 * group + 3] = before.y;
                }
#pragma unroll
                for (u32 slice = 0; slice < DEPTH; slice++) {
                    ring.multiply(hidden, own + slice * SLAB);
                    if (slice > 0) ring.settle<1>();
                }
                ring.settle();
                wgmma_results(hidden);
                if (chunk + 1 == chunks && (threadIdx.x & 127) == 0) barrier_arrive(base + ROWS_READ);
                // GELU becomes the left operand in registers; that of 16 columns is multiplied while the next is computed.
                u32 left[8][4];
#pragma unroll
                for (u32 half = 0; half < 2; half++) {
                    u64 right[PARTS];
#pragma unroll
                    for (u32 part = 0; part < PARTS; part++) right[part] = descriptor(ring.take(), 16, 1024);
#pragma unroll
                    for (u32 step = 0; step < 4; step++) {
                        u32 (&own)[4] = left[half * 4 + step];
#pragma unroll
                        for (u32 i = 0; i < 4; i++) {
                            const float* pair = hidden + half * 32 + step * 8 + 2 * i;
                            own[i] = pack_bf16(gelu(pair[0]), gelu(pair[1]));
                        }
                        wgmma_fence();
#pragma unroll
                        for (u32 part = 0; part < PARTS; part++) {
                            wgmma_left(sum[part], own[0], own[1], own[2], own[3], right[part] + 2 * step);
                            if (step == 3) wgmma_commit();
                        }
                    }
                }
                ring.settle<PARTS>();
                ring.settle();
#pragma unroll
                for (u32 part = 0; part < PARTS; part++) wgmma_results(sum[part]);
            }
            store_rows(sum, added, out, line, p.rows);
        });
    }
}
#endif

struct GreedySizes {
    u32 rows, vocab;
    float epsilon;
};

#define NOTHING __uint_as_float(0xff800000u)

__device__ __forceinline__ float exp_fast(float x) { return exp2_fast(1.44269504f * x); }

// What is known of a row's logits: the largest and its token, and the sum of all exponentials, less those of the largest.
struct Choice {
    float most, sum;
    u32 token;

    // What is taken from all before the exponential: minus infinity less itself would be no number.
    __device__ __forceinline__ float base() const { return most == NOTHING ? 0.0f : most; }

    __device__ __forceinline__ void add(const Choice& other) {
        float before = most;
        // The first among equals.
        if (other.most > most || (other.most == most && other.token < token)) most = other.most, token = other.token;
        sum = sum * exp_fast(before - base()) + other.sum * exp_fast(other.most - base());
    }
    __device__ __forceinline__ void add_of(u32 lane) {
        add({__shfl_xor_sync(0xffffffffu, most, lane), __shfl_xor_sync(0xffffffffu, sum, lane),
             __shfl_xor_sync(0xffffffffu, token, lane)});
    }
};

// The most probable token of each row of (norm of x) * b + bias, the first among equals, and its probability; a row of
// nothing that is a number gives token 0 and probability 0. b is in slabs, a column of slabs after the other.
#ifdef KERNEL_project_greedy
extern "C" __global__ void __launch_bounds__(THREADS, 1)
project_greedy(const float* x, const float* gamma, const float* beta, const u16* b, const float* bias, float2* chosen,
               const __grid_constant__ GreedySizes p) {
    extern __shared__ __align__(1024) unsigned char shared[];
    u32 base = smem_address(shared), tiles = (p.vocab + TILE - 1) / TILE;
    Ring ring(base + DEPTH * SLAB);
    float* shift = (float*)(shared + VECTORS);
    for (u32 at = threadIdx.x; at < p.vocab; at += THREADS) shift[at] = bias[at];
    begin(ring, base);
    if (producing()) {
        fewer_registers<24>();
        if (producer()) prefetch_tile(x, blockIdx.x * TILE, p.rows);
        if (producer()) each_tile(p.rows, [&](u32 first) {
            prefetch_tile(x, first + gridDim.x * TILE, p.rows);
            ring.fill(b, tiles * DEPTH);
        });
    } else {
        more_registers<240>();
        u32 own = base + (threadIdx.x >> 7) * 64 * 128;
        each_tile(p.rows, [&](u32 first) {
            u32 line = first + own_row();
            load_operand<NORM>(x, gamma, beta, p.epsilon, first, p.rows, shared);
            Choice choice[2];
            choice[0] = choice[1] = {NOTHING, 0.0f, 0xffffffffu};
            for (u32 tile = 0; tile < tiles; tile++) {
                float sum[64];
#pragma unroll
                for (u32 i = 0; i < 64; i++) sum[i] = 0.0f;
#pragma unroll
                for (u32 slice = 0; slice < DEPTH; slice++) {
                    ring.multiply(sum, own + slice * SLAB);
                    if (slice > 0) ring.settle<1>();
                }
                ring.settle();
                wgmma_results(sum);
#pragma unroll
                for (u32 half = 0; half < 2; half++) {
                    Choice here = {NOTHING, 0.0f, 0xffffffffu};
#pragma unroll
                    for (u32 i = 0; i < 32; i++) {
                        u32 at = tile * TILE + i / 2 * 8 + own_column() + i % 2;
                        float& logit = sum[i / 2 * 4 + half * 2 + i % 2];
                        logit = at < p.vocab ? logit + shift[at] : NOTHING;
                        if (logit > here.most) here.most = logit, here.token = at;
                    }
#pragma unroll
                    for (u32 i = 0; i < 32; i++) here.sum += exp_fast(sum[i / 2 * 4 + half * 2 + i % 2] - here.base());
                    choice[half].add(here);
                }
            }
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                choice[half].add_of(1), choice[half].add_of(2);
                float probability = 1.0f / choice[half].sum;
                bool any = choice[half].token < p.vocab;
                // Where a logit is no number, nothing is known of the others.
                float2 pair = make_float2(any ? (float)choice[half].token : 0.0f, any && probability <= 1.0f ? probability : 0.0f);
                if ((threadIdx.x & 3) == 0 && line + 8 * half < p.rows) chosen[line + 8 * half] = pair;
            }
            warpgroup_sync();
        });
    }
}
#endif
