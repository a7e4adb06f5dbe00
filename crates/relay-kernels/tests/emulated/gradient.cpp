// Gradients of matrices, as product.rs launches them, with COLUMNS and SPLIT.
#include "check.h"
#include "wgmma.h"

#include "common.cuh"
#include "halves.h"
#include "barrier.cuh"
#include "wgmma.cuh"
#include "hopper.cuh"
#include "gradient.cu"

static void gradient(u32 rows, u32 i, u32 j, u32 rows_per_split) {
    Matrix a(random_floats(rows * i, 1), i), b(random_floats(rows * j, 2), j);
    std::vector<float> start = random_floats(i * j, 7);
    Buffer<float> c(start);
    GradientSizes sizes = {rows, i, j, rows_per_split};
    Index grid = {(i + TILE - 1) / TILE, (j + COLUMNS - 1) / COLUMNS, (rows + rows_per_split - 1) / rows_per_split};
    machine::launch(grid, THREADS, SHARED_BYTES, [&] { gemm_grad(a.data(), b.data(), c.data(), sizes); });
    Outcome outcome("gemm_grad/" + std::to_string(rows) + "x" + std::to_string(i) + "x" + std::to_string(j) + "/splits=" +
                    std::to_string(grid.z) + ",columns=" + std::to_string(COLUMNS) + halves_name());
    outcome.guarded(c);
    for (u32 x = 0; x < i; x++)
        for (u32 y = 0; y < j; y++) {
            double before = start[x * j + y];
            Dot dot;
            for (u32 row = 0; row < rows; row++) dot.add(a, row * i + x, b, row * j + y);
            outcome.near_f32(x * j + y, c[x * j + y], before + dot.sum, dot.noise() + NOISE * std::fabs(before));
        }
}

int main() {
    gradient(5, 64, 64, 64);
    gradient(333, 192, 128, 128);
    gradient(390, 128, 320, 448);
    gradient(700, 64, 192, 512);
    return failures != 0;
}
