// What follows a matrix product on its way to memory: see gemm.cuh for the product.
//
// Of the kernels only the one is compiled that is asked for.

#ifdef KERNEL_gemm_store
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_store(const u16* a, const u16* b, u16* c, const __grid_constant__ Sizes size) {
    Place place;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#if SPLIT
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) place.write_split(sum, part, c, size, of_warp(row), column);
#else
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 128) {
            __syncwarp();
#pragma unroll
            for (u32 i = 0; i < 32; i++)
                place.at<u32>(place.row() + i % 2 * 8, i / 2 * 16 + 2 * place.column()) =
                    pack_bf16(sum[part / 2 + 2 * i], sum[part / 2 + 2 * i + 1]);
            place.write<128>(c, size, of_warp(row), column + part, 0);
        }
#endif
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

// c = scale * (a * b), in f32; the scale is a number on the device.
#ifdef KERNEL_gemm_scaled
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_scaled(const u16* a, const u16* b, const float* scale, float* c, const __grid_constant__ Sizes size) {
    float factor = *scale;
    Place place;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
            place.put(sum, part);
            u32 line = of_warp(row) + place.lane / 16, at = column + part + place.lane % 16 * 4;
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                float4 x = place.take(i);
                x = make_float4(x.x * factor, x.y * factor, x.z * factor, x.w * factor);
                if (line + 2 * i < size.m && at < size.n) *(float4*)(c + (u64)(line + 2 * i) * size.n + at) = x;
            }
        }
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

// after = gelu(a * b + bias), and `slope` = its derivative there, which comes nearly for free here and is all that the
// backward pass needs. Without KEEP only the former is written.
#ifdef KERNEL_gemm_gelu
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_gelu(const u16* a, const u16* b, const float* bias, u16* slope, u16* after, const __grid_constant__ Sizes size) {
    Place place;
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
#if SPLIT
            // GELU takes the place of the sums, and then the slope that of GELU.
            float steep[32];
#else
            __syncwarp();
#endif
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                u32 group = i * 8 + place.column(), at = column + part + group;
                float2 shift = at < size.n ? __ldg((const float2*)(bias + at)) : make_float2(0.0f, 0.0f);
#pragma unroll
                for (u32 low = 0; low < 2; low++) {
                    float* held = sum + part / 2 + 4 * i + 2 * low;
#if SPLIT
                    float* slopes = steep + 4 * i + 2 * low;
                    held[0] = gelu(held[0] + shift.x, slopes[0]), held[1] = gelu(held[1] + shift.y, slopes[1]);
#else
                    float2 steep;
                    float x = gelu(held[0] + shift.x, steep.x), y = gelu(held[1] + shift.y, steep.y);
                    place.at<u32>(place.row() + 8 * low, 2 * group) = pack_bf16(x, y);
#if KEEP
                    place.at<u32>(place.row() + 8 * low, 128 + 2 * group) = pack_bf16(steep.x, steep.y);
#endif
#endif
                }
            }
#if SPLIT
            place.write_split(sum, part, after, size, of_warp(row), column);
#if KEEP
#pragma unroll
            for (u32 i = 0; i < 32; i++) sum[part / 2 + i] = steep[i];
            place.write_split(sum, part, slope, size, of_warp(row), column);
#endif
#else
            place.write<64>(after, size, of_warp(row), column + part, 0);
#if KEEP
            place.write<64>(slope, size, of_warp(row), column + part, 128);
#endif
#endif
        }
    };
    multiply(a, b, size, nothing, store, no_end);
}
#endif

struct ResidualSizes {
    Sizes size;
    Mask mask;
};

// out = residual + mask * (a * b + bias), in f32.
#ifdef KERNEL_gemm_residual
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_residual(const u16* a, const u16* b, const float* bias, const float* residual, float* out,
              const __grid_constant__ ResidualSizes p) {
    Sizes size = p.size;
    Place place;
    auto prepare = [&](u32 row, u32 column) { prefetch_tile<COLUMNS>(residual, size, row, column); };
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
            u32 line = of_warp(row) + place.lane / 16, at = column + part + place.lane % 16 * 4;
            u64 first = (u64)line * size.n + at;
            // All that is read is asked for at once: one by one each would wait for the memory.
            float4 before[8], shift = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (u32 i = 0; i < 8; i++)
                if (line + 2 * i < size.m && at < size.n) before[i] = *(const float4*)(residual + first + 2 * i * size.n);
#if BIAS
            if (at < size.n) shift = *(const float4*)(bias + at);
#endif
            place.put(sum, part);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                if (line + 2 * i >= size.m || at >= size.n) continue;
                float4 x = place.take(i);
                x.x += shift.x, x.y += shift.y, x.z += shift.z, x.w += shift.w;
                u64 index = first + 2 * i * size.n;
                if (p.mask.drops()) {
                    x.x *= mask_factor(p.mask, (u32)index), x.y *= mask_factor(p.mask, (u32)index + 1);
                    x.z *= mask_factor(p.mask, (u32)index + 2), x.w *= mask_factor(p.mask, (u32)index + 3);
                }
                *(float4*)(out + index) =
                    make_float4(before[i].x + x.x, before[i].y + x.y, before[i].z + x.z, before[i].w + x.w);
            }
        }
    };
    multiply(a, b, size, prepare, store, no_end);
}
#endif

// Sums of a warpgroup's columns over rows, from tile to tile: of 16 that a lane holds it keeps two.
struct ColumnSums {
    float kept[COLUMNS / 64][2];

    __device__ __forceinline__ ColumnSums() {
#pragma unroll
        for (int part = 0; part < COLUMNS / 64; part++) kept[part][0] = kept[part][1] = 0.0f;
    }
    // Of two halves of what a lane has, it keeps one and gives the other to a lane that has the same columns.
    template <int COUNT>
    static __device__ __forceinline__ void halve(float (&x)[COUNT], float (&half)[COUNT / 2], u32 with) {
        bool upper = threadIdx.x & with;
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++) {
            float given = upper ? x[i] : x[i + COUNT / 2], own = upper ? x[i + COUNT / 2] : x[i];
            half[i] = own + __shfl_xor_sync(0xffffffffu, given, with);
        }
    }
    // The numbers of a tile, as a thread holds them.
    __device__ __forceinline__ void add(const float (&sum)[HELD]) {
#pragma unroll
        for (int part = 0; part < COLUMNS / 64; part++) {
            float all[16], half[8], quarter[4], eighth[2];
#pragma unroll
            for (int i = 0; i < 16; i++) {
                const float* held = sum + part * 32 + i / 2 * 4 + i % 2;
                all[i] = held[0] + held[2];
            }
            halve(all, half, 16);
            halve(half, quarter, 8);
            halve(quarter, eighth, 4);
            kept[part][0] += eighth[0], kept[part][1] += eighth[1];
        }
    }
    __device__ __forceinline__ void add_to(float* totals, u32 column, u32 n) const {
        u32 lane = threadIdx.x & 31, group = (lane >> 4) * 4 + (lane >> 3 & 1) * 2 + (lane >> 2 & 1);
        u32 first = column + group * 8 + (lane & 3) * 2;
#pragma unroll
        for (int part = 0; part < COLUMNS / 64; part++) {
            if (first + part * 64 >= n) continue;
            atomicAdd(totals + first + part * 64, kept[part][0]);
            atomicAdd(totals + first + part * 64 + 1, kept[part][1]);
        }
    }
};

// out = a * b * slope; `sums` gets the sums of its columns added. A place has room for the slopes of 128 columns, with SPLIT of
// 64: the others are asked for when these are done with.
#if defined(KERNEL_gemm_dgelu) && COLUMNS == 128
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_dgelu(const u16* a, const u16* b, const u16* slope, u16* out, float* sums, const __grid_constant__ Sizes size) {
    ColumnSums columns;
    Place place;
    auto prepare = [&](u32 row, u32 column) {
        __syncwarp();
        place.fetch(slope, size, of_warp(row), column);
#if SPLIT
        Sizes both = {size.m, 2 * size.n, size.k};
        prefetch_tile<64>(slope, both, row, column + 64), prefetch_tile<64>(slope, both, row, size.n + column + 64);
#endif
    };
    auto store = [&](float(&sum)[HELD], u32 row, u32 column) {
#if SPLIT
#pragma unroll
        for (u32 part = 0; part < COLUMNS; part += 64) {
            cp_async_wait<0>();
            __syncwarp();
#pragma unroll
            for (u32 i = 0; i < 16; i++) {
                float* held = sum + part / 2 + 2 * i;
                u32 line = place.row() + i % 2 * 8, byte = i / 2 * 16 + 2 * place.column();
                u32 pair = place.at<u32>(line, byte), rest = place.at<u32>(line, byte + 128);
                held[0] *= low_bf16(pair) + low_bf16(rest), held[1] *= high_bf16(pair) + high_bf16(rest);
            }
            place.write_split(sum, part, out, size, of_warp(row), column);
            __syncwarp();
            if (part == 0) place.fetch(slope, size, of_warp(row), column + 64);
        }
#else
        cp_async_wait<0>();
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < 32; i++) {
            u32& pair = place.at<u32>(place.row() + i % 2 * 8, i / 2 * 16 + 2 * place.column());
            sum[2 * i] *= low_bf16(pair), sum[2 * i + 1] *= high_bf16(pair);
            pair = pack_bf16(sum[2 * i], sum[2 * i + 1]);
        }
        place.write<128>(out, size, of_warp(row), column, 0);
#endif
        columns.add(sum);
    };
    multiply(a, b, size, prepare, store, [&](u32 column) { columns.add_to(sums, column, size.n); });
}
#endif
