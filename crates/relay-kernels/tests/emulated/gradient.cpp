// Gradients of matrices, as product.rs launches them, with COLUMNS.
#include "check.h"
#include "wgmma.h"

#include "common.cuh"
#include "wgmma.cuh"
#include "hopper.cuh"
#include "gradient.cu"

static void gradient(u32 rows, u32 i, u32 j, u32 rows_per_split) {
    Buffer<u16> a(random_halves(rows * i, 1)), b(random_halves(rows * j, 2));
    std::vector<float> start = random_floats(i * j, 7);
    Buffer<float> c(start);
    GradientSizes sizes = {rows, i, j, rows_per_split};
    Index grid = {(i + TILE - 1) / TILE, (j + COLUMNS - 1) / COLUMNS, (rows + rows_per_split - 1) / rows_per_split};
    machine::launch(grid, THREADS, SHARED_BYTES, [&] { gemm_grad(a.data(), b.data(), c.data(), sizes); });
    Outcome outcome("gemm_grad/" + std::to_string(rows) + "x" + std::to_string(i) + "x" + std::to_string(j) + "/splits=" +
                    std::to_string(grid.z) + ",columns=" + std::to_string(COLUMNS));
    outcome.guarded(c);
    for (u32 x = 0; x < i; x++)
        for (u32 y = 0; y < j; y++) {
            double sum = start[x * j + y], magnitude = std::fabs(sum);
            for (u32 row = 0; row < rows; row++) {
                double product = from_half(a[row * i + x]) * from_half(b[row * j + y]);
                sum += product, magnitude += std::fabs(product);
            }
            outcome.near_f32(x * j + y, c[x * j + y], sum, NOISE * magnitude);
        }
}

int main() {
    gradient(5, 64, 64, 64);
    gradient(333, 192, 128, 128);
    gradient(390, 128, 320, 448);
    gradient(700, 64, 192, 512);
    return failures != 0;
}
