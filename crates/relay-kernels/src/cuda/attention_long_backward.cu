// Long attention backward, in two halves. Both compute the scores: that is hardly slower than adding up dq in memory, and
// gives the same numbers every time.
//
// What costs most of dropout is to draw it, so the half for queries leaves bits to that for keys, one for each score that
// is kept: of each warp and tile of keys a word for each lane, [heads, tiles of queries, warps, tiles of keys, lanes]. The
// scores of 8 x 8 that a part of 16 x 16 is made of are numbered down, then right. A word has in its low half the bits of
// the lane's even columns, in the order of these numbers, in its high half those of the odd ones.
//
// Launch: with dynamic shared memory of, in bytes,
//   queries   6 * TILE * PITCH * 2 + TILE * 4
//   keys      6 * TILE * PITCH * 2 + TILE * 32

#ifndef RELAY_EMULATED
// Transposes 8 x 8 halves of words, of which a lane holds those in row lane / 4 at columns 2 (lane % 4) and the next.
__device__ __forceinline__ u32 transpose_halves(u32 word) {
    u32 transposed;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(word));
    return transposed;
}
#endif

// The gradient of queries, and delta for the other half.
#ifdef KERNEL_attention_long_queries
extern "C" __global__ void __launch_bounds__(THREADS, AT_ONCE)
    attention_long_queries(const u16* __restrict__ qkv, const float2* __restrict__ angles, const u32* __restrict__ pads,
                           const float* __restrict__ slopes, const u16* __restrict__ out, const u16* __restrict__ dout,
                           const float* __restrict__ lse, float* __restrict__ delta, u32* __restrict__ bits,
                           u16* __restrict__ dqkv, const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* q = (u16*)smem;
    u16* grad = q + ROOM;
    u16* k = grad + ROOM;
    u16* v = k + 2 * ROOM;
    float* row_delta = (float*)(v + 2 * ROOM);

    const int width = p.width, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool causal = p.flags & CAUSAL;
    const Place place = place_of(p, causal);
    const int first = place.first, own = first + 16 * warp;
    const int pad = min(pads[place.batch], p.width), end = causal ? min(first + TILE, width) : width;
    const u32 stride = 3 * PARTS * place.row_stride, out_stride = PARTS * place.row_stride;
    const u16* const queries = qkv + place.qkv;

    auto load_keys = [&](int tile) {
        if (tile * TILE < end) {
            load_tile(k + tile % 2 * ROOM, queries + place.row_stride, stride, tile * TILE, width);
            load_tile(v + tile % 2 * ROOM, queries + 2 * place.row_stride, stride, tile * TILE, width);
        }
        cp_async_commit();
    };
    load_tile(q, queries, stride, first, width);
    load_keys(pad / TILE);
    float* const first_delta = delta + place.numbers + first;
    // dout, and delta on the way: the PIECES lanes that load a row add up their parts.
#pragma unroll
    for (int turn = 0; turn < TILE * PIECES / THREADS; ++turn) {
        u32 unit = turn * THREADS + threadIdx.x;
        u32 row = unit / PIECES, column = unit % PIECES * 8;
        Piece a = no_piece(), b = a;
        if (first + row < width) {
            a = load_piece(dout + place.out + (first + row) * out_stride + column, place.row_stride);
            b = load_piece(out + place.out + (first + row) * out_stride + column, place.row_stride);
        }
        store_piece(grad + row * PITCH + column, HD, a);
        float sum = dot(a, b);
#pragma unroll
        for (int step = 1; step < PIECES; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (column == 0) {
            row_delta[row] = sum;
            if (first + row < width) first_delta[row] = sum;
        }
    }
    cp_async_wait<0>();
    __syncthreads();

    float own_lse[2], own_delta[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int at = 16 * warp + lane / 4 + 8 * half;
        own_lse[half] = first + at < width ? lse[place.numbers + first + at] * LOG2_E : INFINITE;
        own_delta[half] = row_delta[at];
    }
    Left query_left[STEPS], grad_left[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        load_left(query_left[step], smem_address(q), 16 * warp, step, lane);
        load_left(grad_left[step], smem_address(grad), 16 * warp, step, lane);
    }

    const float scale = p.scale * LOG2_E;
#if WITH_SLOPES
    const float slope = slopes[place.head] * LOG2_E;
#endif
#if WITH_DROPOUT
    const u32 first_index = ((u32)place.numbers + own) * width;
    // Of this lane, for the first tile of keys.
    u32* const own_bits = bits + place.bits + (first / TILE * THREADS + 32 * warp) * place.tiles + lane;
#endif
    float total[PIECES][4];
    clear(total);
#pragma unroll 1
    for (int tile = pad / TILE; tile * TILE < end; ++tile) {
        cp_async_wait<0>();
        __syncthreads();
        load_keys(tile + 1);
        const u32 keys = smem_address(k + tile % 2 * ROOM), values = smem_address(v + tile % 2 * ROOM);
#if WITH_DROPOUT
        u32 kept = 0;
#endif
#pragma unroll 1
        for (int part = 0; part < STRIPS; ++part) {
            const int from = tile * TILE + 16 * part;
            if (own >= width || from >= width || (causal && from > own)) break;
            float weights[2][4], gradients[2][4];
            clear(weights);
            clear(gradients);
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                multiply_transposed(weights, query_left[step], keys, 16 * part, step, lane);
                multiply_transposed(gradients, grad_left[step], values, 16 * part, step, lane);
            }
            each_number(weights, lane, [&](float& weight, int row, int column, int half) {
                weight = weight * scale - own_lse[half];
#if WITH_SLOPES
                weight -= slope * fabsf((float)(own + row) - (float)(from + column));
#endif
                weight = exp2_fast(weight);
            });
            if (from < pad || from + 16 > (causal ? own + 1 : width))
                each_number(weights, lane, [&](float& weight, int row, int column, int) {
                    const int key = from + column;
                    if (key < pad || key >= width || (causal && key > own + row)) weight = 0.0f;
                });
#if WITH_DROPOUT
            u32 kept_here = 0;
            each_number(gradients, lane, [&](float& gradient, int row, int column, int half) {
                const float factor = mask_factor(p.mask, first_index + row * width + from + column);
                gradient *= factor;
                if (factor != 0.0f) kept_here |= 1u << (column / 8 * 2 + half + column % 2 * 16);
            });
            kept |= kept_here << 4 * part;
#endif
            each_number(gradients, lane, [&](float& gradient, int, int, int half) { gradient -= own_delta[half]; });
#pragma unroll
            for (int i = 0; i < 8; ++i) gradients[i / 4][i % 4] *= weights[i / 4][i % 4];
            Left left;
            round_tile(left, gradients);
            multiply_add(total, left, keys, 16 * part, lane);
        }
#if WITH_DROPOUT
        own_bits[tile * 32] = kept;
#endif
    }
#pragma unroll
    for (int i = 0; i < PIECES * 4; ++i) total[i / 4][i % 4] *= p.scale;
    if (p.flags & ROPE) rotate_back(total, angles, width, own + lane / 4, lane % 4);
    write_rows(total, q, dqkv + place.qkv + (u64)first * stride, stride, width - first, 16 * warp, lane);
}
#endif

// The gradients of keys and values: with scores, weights and their gradients transposed.
#ifdef KERNEL_attention_long_keys
extern "C" __global__ void __launch_bounds__(THREADS, AT_ONCE)
    attention_long_keys(const u16* __restrict__ qkv, const float2* __restrict__ angles, const u32* __restrict__ pads,
                        const float* __restrict__ slopes, const u16* __restrict__ dout, const float* __restrict__ lse,
                        const float* __restrict__ delta, const u32* __restrict__ bits, u16* __restrict__ dqkv,
                        const __grid_constant__ AttentionParams p) {
    extern __shared__ __align__(16) unsigned char smem[];
    u16* k = (u16*)smem;
    u16* v = k + ROOM;
    // Two tiles each of queries and of the gradient, and of two numbers for each query: lse in units of log 2, delta.
    u16* q = v + ROOM;
    u16* grad = q + 2 * ROOM;
    float* numbers = (float*)(grad + 2 * ROOM);
#if WITH_DROPOUT
    // And of the bits of what is kept.
    u32* kept = (u32*)(numbers + 2 * THREADS);
#endif

    const int width = p.width, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool causal = p.flags & CAUSAL;
    const Place place = place_of(p, false);
    const int first = place.first, own = first + 16 * warp;
    const int pad = min(pads[place.batch], p.width);
    const u32 stride = 3 * PARTS * place.row_stride, out_stride = PARTS * place.row_stride;
    const u16* const queries = qkv + place.qkv;
    // Padding is seen by no query.
    const int begin = first + TILE <= pad ? width : causal ? max(first, pad) : 0;

    auto load_queries = [&](int tile) {
        if (tile * TILE < width) {
            load_tile(q + tile % 2 * ROOM, queries, stride, tile * TILE, width);
            load_tile(grad + tile % 2 * ROOM, dout + place.out, out_stride, tile * TILE, width);
#if WITH_DROPOUT
            if (threadIdx.x < THREADS / 4) {
                u32 line = (tile * (THREADS / 32) + threadIdx.x / 8) * place.tiles + first / TILE;
                u32 word = threadIdx.x * 4;
                cp_async16(smem_address(kept + tile % 2 * THREADS + word), bits + place.bits + line * 32 + word % 32, true);
            }
#endif
        }
        cp_async_commit();
    };
    // One half of the threads is for lse, the other for delta. Queries from width on have an infinite lse.
    const bool for_lse = threadIdx.x < TILE;
    auto number_of = [&](int tile) {
        const int query = tile * TILE + threadIdx.x % TILE;
        if (query >= width) return for_lse ? INFINITE : 0.0f;
        return for_lse ? lse[place.numbers + query] * LOG2_E : delta[place.numbers + query];
    };
    load_tile(k, queries + place.row_stride, stride, first, width);
    load_tile(v, queries + 2 * place.row_stride, stride, first, width);
    load_queries(begin / TILE);
    numbers[begin / TILE % 2 * THREADS + threadIdx.x] = number_of(begin / TILE);
    cp_async_wait<0>();
    __syncthreads();
    Left value_left[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) load_left(value_left[step], smem_address(v), 16 * warp, step, lane);

    const float scale = p.scale * LOG2_E;
#if WITH_SLOPES
    const float slope = slopes[place.head] * LOG2_E;
#endif
    const bool idle = own >= width || own + 16 <= pad;
    float key_total[PIECES][4], value_total[PIECES][4];
    clear(key_total);
    clear(value_total);
#pragma unroll 1
    for (int tile = begin / TILE; tile * TILE < width; ++tile) {
        cp_async_wait<0>();
        __syncthreads();
        load_queries(tile + 1);
        const float next_number = number_of(tile + 1);
        const u32 passing = smem_address(q + tile % 2 * ROOM), grads = smem_address(grad + tile % 2 * ROOM);
#pragma unroll 1
        for (int part = 0; part < STRIPS; ++part) {
            const int from = tile * TILE + 16 * part;
            if (idle || from >= width) break;
            if (causal && from < own) continue;
            float weights[2][4], gradients[2][4];
            clear(weights);
            clear(gradients);
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                // Loaded anew for each part: registers are what limits the warps at work.
                Left key_left;
                load_left(key_left, smem_address(k), 16 * warp, step, lane);
                multiply_transposed(weights, key_left, passing, 16 * part, step, lane);
                multiply_transposed(gradients, value_left[step], grads, 16 * part, step, lane);
            }
            const bool all_visible = own >= pad && own + 16 <= (causal ? from + 1 : width);
#if WITH_DROPOUT
            const u32 keeps = transpose_halves(kept[tile % 2 * THREADS + 32 * part + lane]) >> 4 * warp;
#endif
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const float* at = numbers + tile % 2 * THREADS + 16 * part + 8 * side + 2 * (lane % 4);
                const float2 lse_pair = *(const float2*)at, delta_pair = *(const float2*)(at + TILE);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int next = i % 2, query = from + 2 * (lane % 4) + 8 * side + next;
                    const int key = own + lane / 4 + 8 * (i / 2);
                    float score = weights[side][i] * scale - (next ? lse_pair.y : lse_pair.x);
#if WITH_SLOPES
                    score -= slope * fabsf((float)query - (float)key);
#endif
                    const bool visible = all_visible || (key >= pad && key < width && !(causal && key > query));
                    const float weight = visible ? exp2_fast(score) : 0.0f;
                    float factor = 1.0f;
#if WITH_DROPOUT
                    factor = keeps >> (i / 2 * 2 + side + 16 * next) & 1 ? p.mask.keep : 0.0f;
#endif
                    gradients[side][i] = weight * (factor * gradients[side][i] - (next ? delta_pair.y : delta_pair.x));
                    weights[side][i] = weight * factor;
                }
            }
            Left left;
            round_tile(left, weights);
            multiply_add(value_total, left, grads, 16 * part, lane);
            round_tile(left, gradients);
            multiply_add(key_total, left, passing, 16 * part, lane);
        }
        numbers[(tile + 1) % 2 * THREADS + threadIdx.x] = next_number;
    }
#pragma unroll
    for (int i = 0; i < PIECES * 4; ++i) key_total[i / 4][i % 4] *= p.scale;
    if (p.flags & ROPE) rotate_back(key_total, angles, width, own + lane / 4, lane % 4);
    // This warp alone reads its rows of k and v, and has done so.
    u16* const to = dqkv + place.qkv + place.row_stride + (u64)first * stride;
    write_rows(key_total, k, to, stride, width - first, 16 * warp, lane);
    write_rows(value_total, v, to + place.row_stride, stride, width - first, 16 * warp, lane);
}
#endif
