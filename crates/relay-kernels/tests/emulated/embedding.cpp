// The rows of a table, as embedding.rs launches them.
#include "check.h"

#include "common.cuh"
#include "embedding.cu"

static void embedded(u32 count, u32 entries, u32 d) {
    std::vector<u32> named;
    // Some tokens come again and again, and some lie outside the table.
    for (u32 i = 0; i < count; i++) named.push_back(i % 7 == 3 ? entries + i / 7 : i * i % entries);
    std::vector<float> start = random_floats(entries * d, 1);
    Buffer<float> table(start), out(count * d), grad(random_floats(count * d, 2)), sums(start);
    Buffer<u32> tokens(named);
    TableSizes sizes = {count, entries, d};
    Index grid = {(count + 7) / 8, 1, 1};
    machine::launch(grid, 256, 0, [&] { embed(table.data(), tokens.data(), out.data(), sizes); });
    machine::launch(grid, 256, 0, [&] { embed_backward(grad.data(), tokens.data(), sums.data(), sizes); });
    std::string name = std::to_string(count) + "/" + std::to_string(entries) + "x" + std::to_string(d);
    Outcome rows("embed/" + name), added("embed_backward/" + name);
    rows.guarded(out), added.guarded(sums);
    std::vector<double> wanted(start.begin(), start.end()), size(wanted);
    for (double& x : size) x = std::fabs(x);
    for (u32 at = 0; at < count * d; at++) {
        u32 token = named[at / d], entry = token * d + at % d;
        rows.near(at, out[at], token < entries ? start[entry] : 0.0f, 0.0);
        if (token < entries) wanted[entry] += grad[at], size[entry] += std::fabs(grad[at]);
    }
    for (u32 at = 0; at < entries * d; at++) added.near_f32(at, sums[at], wanted[at], NOISE * size[at]);
}

int main() {
    embedded(1, 1, 2);
    embedded(45, 11, 66);
    embedded(50, 40, 128);
    return failures != 0;
}
