// Attention of heads that are too long for one block, by tiles (flash attention), forward and backward.
//
// A block owns OWN rows of a head: queries in forward and in the half of backward that gives dq, keys in the other half,
// which gives dk and dv. The rows that they meet, keys or queries, pass by in tiles of PASSING, the next of which comes in
// while one is worked on. Tiles in which nothing is visible are left out. Forward rescales a row's results whenever its
// greatest score grows. Backward computes the scores in both halves: that is hardly slower than adding up dq in memory,
// and gives the same numbers every time.
//
// Warp w owns the rows 32 w to 32 w + 31 of the block's, as BANDS of 16, so that what it reads of passing rows serves all
// of them.
//
// What is rotated is read many times, so rotate_heads does it before, in place: from then on qkv holds q, k and v.
//
// Defines: WITH_SLOPES and WITH_DROPOUT, 0 or 1, which say the same as ALIBI and DROPOUT.
// Launch: batch * heads * ceil(width / OWN) blocks of THREADS, with dynamic shared memory of, in bytes,
//   forward   (OWN + 4 * PASSING) * PITCH * 2
//   queries   (2 * OWN + 4 * PASSING) * PITCH * 2 + OWN * 4
//   keys      (2 * OWN + 4 * PASSING) * PITCH * 2 + PASSING * 16

#ifndef WITH_SLOPES
#define WITH_SLOPES 0
#endif
#ifndef WITH_DROPOUT
#define WITH_DROPOUT 0
#endif

#define THREADS 128
#define BANDS 2
#define OWN_OF_WARP (16 * BANDS)
#define OWN (THREADS / 32 * OWN_OF_WARP)
#define PASSING 64

// Copies COUNT rows of a head to shared memory in the background, from row `first` on; zeros beyond width.
template <int COUNT>
__device__ __forceinline__ void load_rows(u16* to, const u16* from, u32 stride, u32 first, u32 width) {
#pragma unroll
    for (int turn = 0; turn < COUNT * PIECES / THREADS; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / PIECES, column = unit % PIECES * 8;
        bool valid = first + row < width;
        cp_async16(smem_address(to + row * PITCH + column), from + (valid ? (first + row) * stride : 0) + column, valid);
    }
}

// The warp's rows of a matrix, 16 columns of them, as left operands.
__device__ __forceinline__ void load_left(u32 (&left)[BANDS][4], u32 matrix, int row, int step, int lane) {
#pragma unroll
    for (int band = 0; band < BANDS; ++band) load_left(left[band], matrix, row + 16 * band, step, lane);
}

// tile += left x (16 rows of a matrix, 16 columns of them)^T.
__device__ __forceinline__ void multiply_transposed(float (&tile)[BANDS][2][4], const u32 (&left)[BANDS][4], u32 matrix,
                                                    int row, int step, int lane) {
    u32 b[4];
    ldmatrix_x4(b[0], b[1], b[2], b[3], place_by_columns(matrix, row, 16 * step, PITCH, lane));
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
        const u32(&a)[4] = left[band];
        mma16816(tile[band][0], a[0], a[1], a[2], a[3], b[0], b[1]);
        mma16816(tile[band][1], a[0], a[1], a[2], a[3], b[2], b[3]);
    }
}

// total += tile, rounded, x (16 rows of a matrix).
__device__ __forceinline__ void multiply_add(float (&total)[BANDS][PIECES][4], const float (&tile)[BANDS][2][4],
                                             u32 matrix, int row, int lane) {
    u32 left[BANDS][4];
#pragma unroll
    for (int band = 0; band < BANDS; ++band) round_tile(left[band], tile[band]);
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        u32 b[4];
        ldmatrix_x4_trans(b[0], b[1], b[2], b[3], place_by_rows(matrix, row, 16 * step, PITCH, lane));
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            const u32(&a)[4] = left[band];
            mma16816(total[band][2 * step], a[0], a[1], a[2], a[3], b[0], b[1]);
            mma16816(total[band][2 * step + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
        }
    }
}

template <int COUNT>
__device__ __forceinline__ void clear(float (&total)[BANDS][COUNT][4]) {
#pragma unroll
    for (int band = 0; band < BANDS; ++band) clear(total[band]);
}

// Calls `each(number, row, column, own)` for what the lane holds of a tile: its place in the tile, and which of the lane's
// 2 * BANDS rows it belongs to.
template <typename Each>
__device__ __forceinline__ void each_number(float (&tile)[BANDS][2][4], int lane, Each each) {
#pragma unroll
    for (int i = 0; i < BANDS * 8; ++i) {
        const int own = i / 8 * 2 + i / 2 % 2;
        each(tile[i / 8][i / 4 % 2][i % 4], lane / 4 + 8 * own, 2 * (lane % 4) + 8 * (i / 4 % 2) + i % 2, own);
    }
}

// Of a block: its head among all, the first of its rows, and where the head begins in memory.
struct Place {
    u32 batch, head, first, row_stride;
    u64 qkv, out, numbers;
};
__device__ __forceinline__ Place place_of(const AttentionParams& p, bool last_first) {
    const u32 tiles = (p.width + OWN - 1) / OWN;
    const u32 index = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    Place place = {index / p.heads, index % p.heads, (last_first ? tiles - 1 - tile : tile) * OWN, p.heads * HD, 0, 0, 0};
    const u64 rows = (u64)place.batch * p.width;
    place.qkv = rows * 3 * place.row_stride + place.head * HD;
    place.out = rows * place.row_stride + place.head * HD;
    place.numbers = (u64)index * p.width;
    return place;
}

#ifdef KERNEL_rotate_heads
// Launch: a thread for 8 numbers and their partners half a head further, of all queries and keys.
extern "C" __global__ void rotate_heads(u16* __restrict__ qkv, const float2* __restrict__ angles,
                                        const __grid_constant__ AttentionParams p) {
    const u32 UNITS = PIECES / 2;
    u32 unit = blockIdx.x * blockDim.x + threadIdx.x;
    u32 column = unit % UNITS * 8, head = unit / UNITS % (2 * p.heads), row = unit / (2 * UNITS * p.heads);
    if (row >= p.batch * p.width) return;
    u16* at = qkv + (u64)row * 3 * p.heads * HD + head * HD + column;
    uint4 first = *(const uint4*)at, second = *(const uint4*)(at + HD / 2);
    float4 angle[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) angle[i] = ((const float4*)(angles + row % p.width * (HD / 2) + column))[i];
    rotate_pieces(first, second, angle);
    *(uint4*)at = first;
    *(uint4*)(at + HD / 2) = second;
}
#endif

#ifdef KERNEL_attention_long_forward
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_long_forward(const u16* __restrict__ qkv, const u32* __restrict__ pads, const float* __restrict__ slopes,
                           u16* __restrict__ out, float* __restrict__ lse, const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* q = (u16*)smem;
    // Two tiles each of keys and values.
    u16* k = q + OWN * PITCH;
    u16* v = k + 2 * PASSING * PITCH;

    const int width = p.width, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool causal = p.flags & CAUSAL;
    // The longest work first, so that none begins late.
    const Place place = place_of(p, causal);
    const int first = place.first, own = first + OWN_OF_WARP * warp;
    const int pad = min(pads[place.batch], p.width), end = causal ? min(first + OWN, width) : width;
    const u32 stride = 3 * place.row_stride;
    const u16* const queries = qkv + place.qkv;

    auto load_tile = [&](int tile) {
        if (tile * PASSING < end) {
            u32 at = tile % 2 * PASSING * PITCH;
            load_rows<PASSING>(k + at, queries + place.row_stride, stride, tile * PASSING, width);
            load_rows<PASSING>(v + at, queries + 2 * place.row_stride, stride, tile * PASSING, width);
        }
        cp_async_commit();
    };
    load_rows<OWN>(q, queries, stride, first, width);
    load_tile(pad / PASSING);
    cp_async_wait<0>();
    __syncthreads();
    u32 left[STEPS][BANDS][4];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_left(left[step], smem_address(q), OWN_OF_WARP * warp, step, lane);

    // Scores are kept as the product has them, and brought to units of log 2 on the way to exp2.
    const float scale = p.scale * LOG2_E;
#if WITH_SLOPES
    const float slope = slopes[place.head] / p.scale;
#endif
    float most[2 * BANDS], sum[2 * BANDS], total[BANDS][PIECES][4];
#pragma unroll
    for (int row = 0; row < 2 * BANDS; ++row) most[row] = -INFINITE, sum[row] = 0.0f;
    clear(total);
#if WITH_DROPOUT
    const u32 first_index = ((u32)place.numbers + own) * width;
#endif

#pragma unroll 1
    for (int tile = pad / PASSING; tile * PASSING < end; ++tile) {
        cp_async_wait<0>();
        __syncthreads();
        load_tile(tile + 1);
        const int from = tile * PASSING;
        if (own >= width || (causal && from >= own + OWN_OF_WARP)) continue;
        const u32 at = tile % 2 * PASSING * PITCH;

        float scores[PASSING / 16][BANDS][2][4];
#pragma unroll
        for (int part = 0; part < PASSING / 16; ++part) {
            clear(scores[part]);
#pragma unroll
            for (int step = 0; step < STEPS; ++step)
                multiply_transposed(scores[part], left[step], smem_address(k + at), 16 * part, step, lane);
        }
        const bool all_visible = from >= pad && from + PASSING <= (causal ? own + 1 : width);
#if WITH_SLOPES
#pragma unroll
        for (int part = 0; part < PASSING / 16; ++part)
            each_number(scores[part], lane, [&](float& score, int row, int column, int) {
                score -= slope * fabsf((float)(own + row) - (float)(from + 16 * part + column));
            });
#endif
        if (!all_visible) {
#pragma unroll
            for (int part = 0; part < PASSING / 16; ++part)
                each_number(scores[part], lane, [&](float& score, int row, int column, int) {
                    const int key = from + 16 * part + column;
                    if (key < pad || key >= width || (causal && key > own + row)) score = -INFINITE;
                });
        }

        float base[2 * BANDS], before[2 * BANDS];
#pragma unroll
        for (int row = 0; row < 2 * BANDS; ++row) before[row] = most[row];
#pragma unroll
        for (int part = 0; part < PASSING / 16; ++part)
            each_number(scores[part], lane,
                        [&](float& score, int, int, int row) { most[row] = fmaxf(most[row], score); });
        // Four lanes share a row. Where no key has been visible, 0 stands for the maximum: minus infinity minus itself
        // would not be a number.
#pragma unroll
        for (int row = 0; row < 2 * BANDS; ++row) {
            most[row] = fmaxf(most[row], __shfl_xor_sync(0xffffffffu, most[row], 1));
            most[row] = fmaxf(most[row], __shfl_xor_sync(0xffffffffu, most[row], 2));
            base[row] = most[row] == -INFINITE ? 0.0f : most[row] * scale;
            const float shrink = exp2_fast(before[row] * scale - base[row]);
            sum[row] *= shrink;
#pragma unroll
            for (int piece = 0; piece < PIECES; ++piece) {
                total[row / 2][piece][row % 2 * 2] *= shrink;
                total[row / 2][piece][row % 2 * 2 + 1] *= shrink;
            }
        }
#pragma unroll
        for (int part = 0; part < PASSING / 16; ++part) {
            each_number(scores[part], lane, [&](float& score, int row, int column, int own_row) {
                score = exp2_fast(score * scale - base[own_row]);
                sum[own_row] += score;
#if WITH_DROPOUT
                score *= mask_factor(p.mask, first_index + row * width + from + 16 * part + column);
#endif
            });
            multiply_add(total, scores[part], smem_address(v + at), 16 * part, lane);
        }
    }

#pragma unroll
    for (int row = 0; row < 2 * BANDS; ++row) {
        sum[row] += __shfl_xor_sync(0xffffffffu, sum[row], 1);
        sum[row] += __shfl_xor_sync(0xffffffffu, sum[row], 2);
        const bool sees = sum[row] > 0.0f;
        const float inverse = sees ? 1.0f / sum[row] : 0.0f;
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
            total[row / 2][piece][row % 2 * 2] *= inverse;
            total[row / 2][piece][row % 2 * 2 + 1] *= inverse;
        }
        const int query = own + lane / 4 + 8 * row;
        if (lane % 4 == 0 && query < width)
            lse[place.numbers + query] = sees ? most[row] * p.scale + __log2f(sum[row]) * LN_2 : INFINITE;
    }
    // This warp alone reads its rows of q, and has done so.
#pragma unroll
    for (int band = 0; band < BANDS; ++band)
        write_rows(total[band], q, out + place.out + (u64)first * place.row_stride, place.row_stride, width - first,
                   OWN_OF_WARP * warp + 16 * band, lane);
}
#endif

// The gradient of queries, and delta for the other half.
#ifdef KERNEL_attention_long_queries
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_long_queries(const u16* __restrict__ qkv, const float2* __restrict__ angles, const u32* __restrict__ pads,
                           const float* __restrict__ slopes, const u16* __restrict__ out, const u16* __restrict__ dout,
                           const float* __restrict__ lse, float* __restrict__ delta, u16* __restrict__ dqkv,
                           const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* q = (u16*)smem;
    u16* grad = q + OWN * PITCH;
    u16* k = grad + OWN * PITCH;
    u16* v = k + 2 * PASSING * PITCH;
    float* row_delta = (float*)(v + 2 * PASSING * PITCH);

    const int width = p.width, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool causal = p.flags & CAUSAL;
    const Place place = place_of(p, causal);
    const int first = place.first, own = first + OWN_OF_WARP * warp;
    const int pad = min(pads[place.batch], p.width), end = causal ? min(first + OWN, width) : width;
    const u32 stride = 3 * place.row_stride;
    const u16* const queries = qkv + place.qkv;

    auto load_tile = [&](int tile) {
        if (tile * PASSING < end) {
            u32 at = tile % 2 * PASSING * PITCH;
            load_rows<PASSING>(k + at, queries + place.row_stride, stride, tile * PASSING, width);
            load_rows<PASSING>(v + at, queries + 2 * place.row_stride, stride, tile * PASSING, width);
        }
        cp_async_commit();
    };
    load_rows<OWN>(q, queries, stride, first, width);
    load_tile(pad / PASSING);
    // dout, and delta on the way: the PIECES lanes that load a row add up their parts.
#pragma unroll
    for (int turn = 0; turn < OWN * PIECES / THREADS; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / PIECES, column = unit % PIECES * 8;
        uint4 a = make_uint4(0, 0, 0, 0), b = a;
        if (first + row < width) {
            a = *(const uint4*)(dout + place.out + (first + row) * place.row_stride + column);
            b = *(const uint4*)(out + place.out + (first + row) * place.row_stride + column);
        }
        *(uint4*)(grad + row * PITCH + column) = a;
        float sum = dot(a, b);
#pragma unroll
        for (int step = 1; step < PIECES; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (column == 0) {
            row_delta[row] = sum;
            if (first + row < width) delta[place.numbers + first + row] = sum;
        }
    }
    cp_async_wait<0>();
    __syncthreads();

    float own_lse[2 * BANDS], own_delta[2 * BANDS];
#pragma unroll
    for (int row = 0; row < 2 * BANDS; ++row) {
        const int at = OWN_OF_WARP * warp + lane / 4 + 8 * row;
        own_lse[row] = first + at < width ? lse[place.numbers + first + at] * LOG2_E : INFINITE;
        own_delta[row] = row_delta[at];
    }
    u32 query_left[STEPS][BANDS][4], grad_left[STEPS][BANDS][4];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        load_left(query_left[step], smem_address(q), OWN_OF_WARP * warp, step, lane);
        load_left(grad_left[step], smem_address(grad), OWN_OF_WARP * warp, step, lane);
    }

    const float scale = p.scale * LOG2_E;
#if WITH_SLOPES
    const float slope = slopes[place.head] * LOG2_E;
#endif
#if WITH_DROPOUT
    const u32 first_index = ((u32)place.numbers + own) * width;
#endif
    float total[BANDS][PIECES][4];
    clear(total);
#pragma unroll 1
    for (int tile = pad / PASSING; tile * PASSING < end; ++tile) {
        cp_async_wait<0>();
        __syncthreads();
        load_tile(tile + 1);
        const u32 keys = smem_address(k + tile % 2 * PASSING * PITCH), values = smem_address(v + tile % 2 * PASSING * PITCH);
#pragma unroll 1
        for (int part = 0; part < PASSING / 16; ++part) {
            const int from = tile * PASSING + 16 * part;
            if (own >= width || from >= width || (causal && from >= own + OWN_OF_WARP)) break;
            float weights[BANDS][2][4], gradients[BANDS][2][4];
            clear(weights);
            clear(gradients);
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                multiply_transposed(weights, query_left[step], keys, 16 * part, step, lane);
                multiply_transposed(gradients, grad_left[step], values, 16 * part, step, lane);
            }
            each_number(weights, lane, [&](float& weight, int row, int column, int own_row) {
                weight = weight * scale - own_lse[own_row];
#if WITH_SLOPES
                weight -= slope * fabsf((float)(own + row) - (float)(from + column));
#endif
                weight = exp2_fast(weight);
            });
            if (from < pad || from + 16 > (causal ? own + 1 : width)) {
                each_number(weights, lane, [&](float& weight, int row, int column, int) {
                    const int key = from + column;
                    if (key < pad || key >= width || (causal && key > own + row)) weight = 0.0f;
                });
            }
            each_number(gradients, lane, [&](float& gradient, int row, int column, int own_row) {
#if WITH_DROPOUT
                gradient *= mask_factor(p.mask, first_index + row * width + from + column);
#endif
                gradient -= own_delta[own_row];
            });
#pragma unroll
            for (int i = 0; i < BANDS * 8; ++i) gradients[i / 8][i / 4 % 2][i % 4] *= weights[i / 8][i / 4 % 2][i % 4];
            multiply_add(total, gradients, keys, 16 * part, lane);
        }
    }
    u16* const to = dqkv + place.qkv + (u64)first * stride;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int i = 0; i < PIECES * 4; ++i) total[band][i / 4][i % 4] *= p.scale;
        if (p.flags & ROPE) rotate_back(total[band], angles, width, own + 16 * band + lane / 4, lane % 4);
        write_rows(total[band], q, to, stride, width - first, OWN_OF_WARP * warp + 16 * band, lane);
    }
}
#endif

// The gradients of keys and values: with scores, weights and their gradients transposed.
#ifdef KERNEL_attention_long_keys
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_long_keys(const u16* __restrict__ qkv, const float2* __restrict__ angles, const u32* __restrict__ pads,
                        const float* __restrict__ slopes, const u16* __restrict__ dout, const float* __restrict__ lse,
                        const float* __restrict__ delta, u16* __restrict__ dqkv,
                        const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* k = (u16*)smem;
    u16* v = k + OWN * PITCH;
    // Two tiles each of queries and of the gradient, and of two numbers for each query: lse in units of log 2, delta.
    u16* q = v + OWN * PITCH;
    u16* grad = q + 2 * PASSING * PITCH;
    float* numbers = (float*)(grad + 2 * PASSING * PITCH);

    const int width = p.width, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool causal = p.flags & CAUSAL;
    const Place place = place_of(p, false);
    const int first = place.first, own = first + OWN_OF_WARP * warp;
    const int pad = min(pads[place.batch], p.width);
    const u32 stride = 3 * place.row_stride;
    const u16* const queries = qkv + place.qkv;
    // Padding is seen by no query.
    const int begin = first + OWN <= pad ? width : causal ? max(first, pad) : 0;

    auto load_tile = [&](int tile) {
        if (tile * PASSING < width) {
            u32 at = tile % 2 * PASSING * PITCH;
            load_rows<PASSING>(q + at, queries, stride, tile * PASSING, width);
            load_rows<PASSING>(grad + at, dout + place.out, place.row_stride, tile * PASSING, width);
        }
        cp_async_commit();
    };
    // One half of the threads is for lse, the other for delta. Queries from width on have an infinite lse.
    const bool for_lse = threadIdx.x < PASSING;
    auto number_of = [&](int tile) {
        const int query = tile * PASSING + threadIdx.x % PASSING;
        if (query >= width) return for_lse ? INFINITE : 0.0f;
        return for_lse ? lse[place.numbers + query] * LOG2_E : delta[place.numbers + query];
    };
    load_rows<OWN>(k, queries + place.row_stride, stride, first, width);
    load_rows<OWN>(v, queries + 2 * place.row_stride, stride, first, width);
    load_tile(begin / PASSING);
    numbers[begin / PASSING % 2 * THREADS + threadIdx.x] = number_of(begin / PASSING);
    cp_async_wait<0>();
    __syncthreads();
    u32 value_left[STEPS][BANDS][4];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_left(value_left[step], smem_address(v), OWN_OF_WARP * warp, step, lane);

    const float scale = p.scale * LOG2_E;
#if WITH_SLOPES
    const float slope = slopes[place.head] * LOG2_E;
#endif
    const bool idle = own >= width || own + OWN_OF_WARP <= pad;
    float key_total[BANDS][PIECES][4], value_total[BANDS][PIECES][4];
    clear(key_total);
    clear(value_total);
#pragma unroll 1
    for (int tile = begin / PASSING; tile * PASSING < width; ++tile) {
        cp_async_wait<0>();
        __syncthreads();
        load_tile(tile + 1);
        const float next_number = number_of(tile + 1);
        const u32 passing = smem_address(q + tile % 2 * PASSING * PITCH), grads = smem_address(grad + tile % 2 * PASSING * PITCH);
#pragma unroll 1
        for (int part = 0; part < PASSING / 16; ++part) {
            const int from = tile * PASSING + 16 * part;
            if (idle || from >= width) break;
            if (causal && from + 16 <= own) continue;
            float weights[BANDS][2][4], gradients[BANDS][2][4];
            clear(weights);
            clear(gradients);
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                // Loaded anew for each tile: there are not registers enough.
                u32 key_left[BANDS][4];
                load_left(key_left, smem_address(k), OWN_OF_WARP * warp, step, lane);
                multiply_transposed(weights, key_left, passing, 16 * part, step, lane);
                multiply_transposed(gradients, value_left[step], grads, 16 * part, step, lane);
            }
            float2 row_lse[2], row_delta[2];
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const float* at = numbers + tile % 2 * THREADS + 16 * part + 8 * side + 2 * (lane % 4);
                row_lse[side] = *(const float2*)at, row_delta[side] = *(const float2*)(at + PASSING);
            }
            const bool all_visible = own >= pad && own + OWN_OF_WARP <= (causal ? from + 1 : width);
#pragma unroll
            for (int i = 0; i < BANDS * 8; ++i) {
                const int side = i / 4 % 2, next = i % 2;
                const int key = own + lane / 4 + 16 * (i / 8) + 8 * (i / 2 % 2);
                const int query = from + 2 * (lane % 4) + 8 * side + next;
                float& weight = weights[i / 8][side][i % 4];
                float& gradient = gradients[i / 8][side][i % 4];
                weight = weight * scale - (next ? row_lse[side].y : row_lse[side].x);
#if WITH_SLOPES
                weight -= slope * fabsf((float)query - (float)key);
#endif
                weight = exp2_fast(weight);
                if (!all_visible && (key < pad || key >= width || (causal && key > query))) weight = 0.0f;
#if WITH_DROPOUT
                const float factor = mask_factor(p.mask, ((u32)place.numbers + query) * width + key);
#else
                const float factor = 1.0f;
#endif
                gradient = weight * (factor * gradient - (next ? row_delta[side].y : row_delta[side].x));
                weight *= factor;
            }
            multiply_add(value_total, weights, grads, 16 * part, lane);
            multiply_add(key_total, gradients, passing, 16 * part, lane);
        }
        numbers[(tile + 1) % 2 * THREADS + threadIdx.x] = next_number;
    }
    u16* const to = dqkv + place.qkv + place.row_stride + (u64)first * stride;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int i = 0; i < PIECES * 4; ++i) key_total[band][i / 4][i % 4] *= p.scale;
        if (p.flags & ROPE) rotate_back(key_total[band], angles, width, own + 16 * band + lane / 4, lane % 4);
        // This warp alone reads its rows of k and v, and has done so.
        const int row = OWN_OF_WARP * warp + 16 * band;
        write_rows(key_total[band], k, to, stride, width - first, row, lane);
        write_rows(value_total[band], v, to + place.row_stride, stride, width - first, row, lane);
    }
}
#endif
