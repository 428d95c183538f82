// The yardstick: one step of a GRU in float, as one writes it by hand for speed.
//
//     g++ -O3 -march=native -shared -fPIC -o float_step.so float_step.cpp
//
// Weights lie in panels of ROWS rows, column by column, so that the products run in registers: each
// input is broadcast once for a panel. Sigmoid and tanh are libm's expf, without -ffast-math; with
// -DPOLYNOMIAL_EXP they are a vector polynomial, right to 2e-7 or so, as vector math libraries do it.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int VECTORS = 3;  // no padding where H is a multiple of 16; 4 and 6 are not faster
constexpr int ROWS = LANES * VECTORS;

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef std::int32_t Integers __attribute__((vector_size(LANES * sizeof(float))));

Vector load(const float *p)
{
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

void store(float *p, Vector v)
{
    std::memcpy(p, &v, sizeof v);
}

Vector broadcast(float value)
{
    return value - Vector{};
}

// A matrix in panels of ROWS rows, padded with zeros.
class Matrix {
public:
    Matrix(const float *weights, const float *bias, int rows, int columns)
        : panels_((rows + ROWS - 1) / ROWS),
          columns_(columns),
          values_(static_cast<std::size_t>(panels_) * ROWS * (columns + 1))
    {
        for (int row = 0; row < rows; ++row) {
            float *panel = &values_[static_cast<std::size_t>(row / ROWS) * ROWS * (columns + 1)];
            panel[row % ROWS] = bias[row];
            for (int c = 0; c < columns; ++c) {
                panel[(c + 1) * ROWS + row % ROWS] = weights[row * columns + c];
            }
        }
    }

    int padded_rows() const
    {
        return panels_ * ROWS;
    }

    // y = W x + b
    void multiply(const float *x, float *y) const
    {
        const float *w = values_.data();
        for (int panel = 0; panel < panels_; ++panel) {
            Vector sums[VECTORS];
            for (int v = 0; v < VECTORS; ++v) {
                sums[v] = load(w + v * LANES);
            }
            w += ROWS;
            for (int c = 0; c < columns_; ++c) {
                const Vector xc = broadcast(x[c]);
                for (int v = 0; v < VECTORS; ++v) {
                    sums[v] += load(w + v * LANES) * xc;
                }
                w += ROWS;
            }
            for (int v = 0; v < VECTORS; ++v) {
                store(y + v * LANES, sums[v]);
            }
            y += ROWS;
        }
    }

private:
    int panels_;
    int columns_;
    std::vector<float> values_;
};

#if defined(POLYNOMIAL_EXP)
Vector exponential(Vector x)
{
    const Vector low = broadcast(-87.0f);
    const Vector high = broadcast(88.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    // 2^n e^r: adding 1.5 * 2^23 rounds to an integer n.
    const Vector shifted = x * 1.44269504f + 12582912.0f;
    const Vector n = shifted - 12582912.0f;
    const Vector r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    Vector p = broadcast(1.0f / 5040.0f);
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return reinterpret_cast<Vector>(reinterpret_cast<Integers>(p) +
                                    (reinterpret_cast<Integers>(shifted) << 23));
}

void gates(const float *gx, const float *gh, float *h, int size)
{
    for (int i = 0; i < size; i += LANES) {
        const Vector r = 1.0f / (1.0f + exponential(-(load(gx + i) + load(gh + i))));
        const Vector z =
            1.0f / (1.0f + exponential(-(load(gx + size + i) + load(gh + size + i))));
        const Vector a = load(gx + 2 * size + i) + r * load(gh + 2 * size + i);
        const Vector n = 1.0f - 2.0f / (1.0f + exponential(2.0f * a));
        store(h + i, n + z * (load(h + i) - n));
    }
}
#else
void gates(const float *gx, const float *gh, float *h, int size)
{
    for (int i = 0; i < size; ++i) {
        const float r = 1.0f / (1.0f + expf(-(gx[i] + gh[i])));
        const float z = 1.0f / (1.0f + expf(-(gx[size + i] + gh[size + i])));
        const float a = gx[2 * size + i] + r * gh[2 * size + i];
        const float n = 1.0f - 2.0f / (1.0f + expf(2.0f * a));
        h[i] = n + z * (h[i] - n);
    }
}
#endif

struct Gru {
    Matrix ih;
    Matrix hh;
    int hidden;
    std::vector<float> gx;
    std::vector<float> gh;
};

}  // namespace

// Arrays as in torch.nn.GRU: (3 H, I), (3 H, H), (3 H,), (3 H,), gates r, z, n. H: a multiple of 16.
extern "C" void *float_gru_new(int hidden, int features, const float *weight_ih,
                               const float *weight_hh, const float *bias_ih, const float *bias_hh)
{
    Matrix ih(weight_ih, bias_ih, 3 * hidden, features);
    Matrix hh(weight_hh, bias_hh, 3 * hidden, hidden);
    std::vector<float> scratch(static_cast<std::size_t>(ih.padded_rows()));
    return new Gru{ih, hh, hidden, scratch, scratch};
}

extern "C" void float_gru_delete(void *gru)
{
    delete static_cast<Gru *>(gru);
}

// x: (I,). h: (H,), moved on by one step.
extern "C" void float_gru_step(void *gru, const float *x, float *h)
{
    Gru *const g = static_cast<Gru *>(gru);
    g->ih.multiply(x, g->gx.data());
    g->hh.multiply(h, g->gh.data());
    gates(g->gx.data(), g->gh.data(), h, g->hidden);
}
