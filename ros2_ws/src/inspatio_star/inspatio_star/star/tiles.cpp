// The products of the transformer in float32, on the tile unit (AMX) of x86 processors.
//
// The tile unit multiplies bfloat16 numbers and sums in float32. A float32 number is the sum of three bfloat16
// numbers of falling size; of the nine products of their parts the six that float32 can tell apart are summed. So
// the error is that of float32, not of bfloat16, and the unit is fast enough for that to pay.
//
// All products work on blocks of 32 x 32 results. What the vector unit has to do (softmax, the end of a linear layer)
// is done piece by piece while the tiles of the next block are busy.
#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace {

using bf16 = uint16_t;
constexpr int SIDE = 32;                 // rows and columns of a block, and inner numbers of a step
constexpr int TILE = 16 * SIDE;          // bfloat16 numbers of a tile
constexpr int STEP = 3 * 2 * TILE;       // of a block for one step: [part][half of its side][16][32]
constexpr int BLOCK = SIDE * SIDE;       // results of a block
constexpr int LONG = 12;                 // steps for which the left side is split at a time
constexpr int ROWS = 19;                 // blocks of rows at a time: with LONG, what the second cache holds
constexpr int KEYS = 128;                // at a time
constexpr int QUERIES = 20;              // blocks of queries at a time
constexpr float LOG2_E = 1.4426950408889634f;

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t colsb[16] = {};
    uint8_t rows[16] = {};
};

void configure() {
    TileConfig config;
    for (int i = 0; i < 8; ++i) config.colsb[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
}

struct Scratch {
    void* data = nullptr;
    size_t size = 0;
    void* get(size_t wanted) {
        if (wanted > size) {
            std::free(data);
            size = (wanted + 4095) / 4096 * 4096;
            data = std::aligned_alloc(4096, size);
        }
        return data;
    }
    ~Scratch() { std::free(data); }
};

inline __m512 widened(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// Three bf16 parts of 16 numbers.
inline void split(__m512 x, __m256i& hi, __m256i& mid, __m256i& lo) {
    hi = (__m256i)_mm512_cvtneps_pbh(x);
    x = _mm512_sub_ps(x, widened(hi));
    mid = (__m256i)_mm512_cvtneps_pbh(x);
    x = _mm512_sub_ps(x, widened(mid));
    lo = (__m256i)_mm512_cvtneps_pbh(x);
}

// Row r (0..31) and 16 columns of a left block.
inline void put_left(bf16* block, int r, int column, __m512 x) {
    __m256i part[3];
    split(x, part[0], part[1], part[2]);
    bf16* to = block + column / 32 * STEP + r / 16 * TILE + r % 16 * 32 + column % 32;
    for (int p = 0; p < 3; ++p) _mm256_store_si256((__m256i*)(to + p * 2 * TILE), part[p]);
}

// c += a b for a 32x32 block in tiles 0..3; `meanwhile` is called twice a step, while the tiles are busy.
template <class Work>
inline __attribute__((always_inline)) void multiply(const bf16* a, const bf16* b, int steps, Work&& meanwhile) {
#define LEFT(p) _tile_loadd(4, a + (p) * 2 * TILE, 64); _tile_loadd(5, a + (p) * 2 * TILE + TILE, 64)
#define RIGHT(p) _tile_loadd(6, b + (p) * 2 * TILE, 64); _tile_loadd(7, b + (p) * 2 * TILE + TILE, 64)
#define PRODUCT _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7)
    for (int s = 0; s < steps; ++s, a += STEP, b += STEP) {
        LEFT(0); RIGHT(2); PRODUCT;
        RIGHT(0); PRODUCT;
        RIGHT(1); PRODUCT;
        meanwhile();
        LEFT(1); PRODUCT;
        RIGHT(0); PRODUCT;
        LEFT(2); PRODUCT;
        meanwhile();
    }
}

inline void zero_tiles() { _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); }
// c as 32 rows of `ld` floats.
inline void load_tiles(const float* c, size_t ld) {
    _tile_loadd(0, c, ld * 4); _tile_loadd(1, c + 16, ld * 4);
    _tile_loadd(2, c + 16 * ld, ld * 4); _tile_loadd(3, c + 16 * ld + 16, ld * 4);
}
inline void store_tiles(float* c, size_t ld) {
    _tile_stored(0, c, ld * 4); _tile_stored(1, c + 16, ld * 4);
    _tile_stored(2, c + 16 * ld, ld * 4); _tile_stored(3, c + 16 * ld + 16, ld * 4);
}

// 2^x, x <= 0.
inline __m512 exp2_(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-126.f), x);  // in this order, what is not a number stays so
    const __m512 n = _mm512_roundscale_ps(x, 0);
    const __m512 r = _mm512_sub_ps(x, n);
    __m512 y = _mm512_set1_ps(1.535336188319500e-4f);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.339887440266574e-3f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(9.618437357674640e-3f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.550332471162809e-2f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(2.402264791363012e-1f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(6.931472028550421e-1f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(y, n);
}

inline __m512 gelu(__m512 x) {  // the tanh form: x / (1 + exp(-2 u))
    const __m512 square = _mm512_mul_ps(x, x);
    const float scale = -2 * 0.7978845608028654f * LOG2_E;
    __m512 u = _mm512_fmadd_ps(square, _mm512_set1_ps(0.044715f * scale), _mm512_set1_ps(scale));
    u = _mm512_min_ps(_mm512_set1_ps(126.f), _mm512_mul_ps(u, x));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.f), exp2_(u)));
}

inline __mmask16 mask(int64_t left) { return left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1; }

// 16 rows x 32 columns of `from` (rows < rows_left, columns < columns_left) as a right tile per part: rows are the
// outer dimension.
void put_right_transposed(bf16* to, const float* from, int64_t ld, int rows_left, int columns_left) {
    alignas(64) uint32_t pair[3][16][16];
    for (int n = 0; n < 16; ++n) {
        __m256i a[3] = {}, b[3] = {};
        if (n < rows_left) {
            split(_mm512_maskz_loadu_ps(mask(columns_left), from + n * ld), a[0], a[1], a[2]);
            split(_mm512_maskz_loadu_ps(mask(columns_left - 16), from + n * ld + 16), b[0], b[1], b[2]);
        }
        for (int p = 0; p < 3; ++p) {
            _mm256_store_si256((__m256i*)&pair[p][n][0], a[p]);
            _mm256_store_si256((__m256i*)&pair[p][n][8], b[p]);
        }
    }
    const __m512i row = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                           _mm512_set1_epi32(16));
    for (int p = 0; p < 3; ++p)
        for (int r = 0; r < 16; ++r)
            _mm512_store_si512(to + p * 2 * TILE + r * 32,
                               _mm512_i32gather_epi32(_mm512_add_epi32(row, _mm512_set1_epi32(r)), &pair[p][0][0], 4));
}

// 32 rows x 16 columns of `from` as a right tile per part: rows are the inner dimension.
void put_right(bf16* to, const float* from, int64_t ld, int rows_left) {
    const __m512i index = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int r = 0; r < 16; ++r) {
        __m256i a[3] = {}, b[3] = {};
        if (2 * r < rows_left) split(_mm512_loadu_ps(from + 2 * r * ld), a[0], a[1], a[2]);
        if (2 * r + 1 < rows_left) split(_mm512_loadu_ps(from + (2 * r + 1) * ld), b[0], b[1], b[2]);
        for (int p = 0; p < 3; ++p) {
            const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(a[p]), b[p], 1);
            _mm512_store_si512(to + p * 2 * TILE + r * 32, _mm512_permutexvar_epi16(index, both));
        }
    }
}

// The end of a linear block, row by row.
struct Finish {
    const float* sum = nullptr;
    float* to;
    int64_t ldy;
    const float *bias, *gate;
    int64_t column, n;
    int rows = 0, mode, row = 0;
    inline void some(int count) {
        for (; count > 0 && row < rows; --count, ++row)
            for (int half = 0; half < 2; ++half) {
                const int64_t at = column + half * 16;
                const __mmask16 valid = mask(n - at);
                float* place = to + row * ldy + half * 16;
                __m512 v = _mm512_load_ps(sum + row * 32 + half * 16);
                if (bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(valid, bias + at));
                if (mode == 1) v = gelu(v);
                if (mode == 2) {
                    const __m512 g = gate ? _mm512_maskz_loadu_ps(valid, gate + at) : _mm512_set1_ps(1.f);
                    v = _mm512_fmadd_ps(v, g, _mm512_maskz_loadu_ps(valid, place));
                }
                _mm512_mask_storeu_ps(place, valid, v);
            }
    }
};

// The softmax of 32 rows of scores, row by row, to the left side of the product with the values.
struct Softmax {
    const float* scores = nullptr;
    bf16* p;
    float *maximum, *total, *sum;
    const float* bias;
    int64_t left, d;
    int row = 32;
    inline void some(int count) {
        const __m512 to_log2 = _mm512_set1_ps(LOG2_E);
        for (; count > 0 && row < 32; --count, ++row) {
            __m512 x[KEYS / 16];
            __m512 top = _mm512_set1_ps(maximum[row]);
            for (int i = 0; i < KEYS / 16; ++i) {
                x[i] = _mm512_load_ps(scores + row * KEYS + i * 16);
                const __mmask16 valid = mask(left - i * 16);
                if (bias) x[i] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(valid, bias + i * 16), to_log2, x[i]);
                if (left < KEYS) x[i] = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), valid, x[i]);
                top = _mm512_max_ps(top, x[i]);
            }
            const float highest = _mm512_reduce_max_ps(top);
            const __m512 shift = _mm512_set1_ps(highest);
            __m512 added = _mm512_setzero_ps();
            for (int i = 0; i < KEYS / 16; ++i) {
                const __m512 e = exp2_(_mm512_sub_ps(x[i], shift));
                added = _mm512_add_ps(added, e);
                put_left(p, row, i * 16, e);
            }
            if (highest != maximum[row]) {
                const float shrink = std::exp2(maximum[row] - highest);
                total[row] *= shrink;
                for (int64_t i = 0; i < d; i += 16)
                    _mm512_store_ps(sum + row * d + i,
                                    _mm512_mul_ps(_mm512_set1_ps(shrink), _mm512_load_ps(sum + row * d + i)));
                maximum[row] = highest;
            }
            total[row] += _mm512_reduce_add_ps(added);
        }
    }
};

}  // namespace

extern "C" {

// Ask for the tile unit; 0 where there is none.
int tiles_start() {
    __builtin_cpu_init();
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    const bool tiles = (d >> 22 & 1) && (d >> 24 & 1);
    const bool avx = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
    if (!tiles || !avx || !(a >> 5 & 1)) return 0;
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;  // ARCH_REQ_XCOMP_PERM, the tile data
}

// How many bfloat16 numbers a packed (n, k) matrix has.
int64_t tiles_packed(int64_t n, int64_t k) { return (n + 31) / 32 * ((k + 31) / 32) * STEP; }

// Make the right side of products from the rows of w.
void tiles_pack(const float* w, int64_t n, int64_t k, int64_t ld, bf16* out) {
    const int64_t steps = (k + 31) / 32;
#pragma omp parallel for
    for (int64_t block = 0; block < (n + 31) / 32; ++block)
        for (int64_t s = 0; s < steps; ++s)
            for (int half = 0; half < 2; ++half) {
                const int64_t row = block * 32 + half * 16;
                put_right_transposed(out + (block * steps + s) * STEP + half * TILE, w + row * ld + s * 32, ld,
                                     n - row, k - s * 32);
            }
}

// y = end(norm(x) w^T + bias), x (m, k), w packed from (n, k).  scale, shift: of a layer norm over k; null: none.
// mode: 0 as it is, 1 gelu in the tanh form, 2 added to y times `gate` (null: 1).  Strides in floats.
void tiles_linear(const float* x, int64_t m, int64_t k, int64_t ldx, const bf16* w, const float* bias, int64_t n,
                float* y, int64_t ldy, int mode, const float* gate, const float* scale, const float* shift,
                float eps) {
    const int64_t steps = (k + 31) / 32, blocks = (m + 31) / 32, columns = (n + 31) / 32;
#pragma omp parallel
    {
        static thread_local Scratch left, partial;
        configure();
        const int64_t threads = omp_get_num_threads(), me = omp_get_thread_num();
        const int64_t begin = blocks * me / threads, end = blocks * (me + 1) / threads;
        const int64_t rounds = (end - begin + ROWS - 1) / ROWS;
        alignas(64) float mean[ROWS * 32], factor[ROWS * 32];
        for (int64_t round = 0; round < rounds; ++round) {
            const int64_t first = begin + (end - begin) * round / rounds;
            const int64_t count = begin + (end - begin) * (round + 1) / rounds - first;
            const bool whole = steps <= LONG;
            bf16* a = (bf16*)left.get(count * LONG * STEP * sizeof(bf16));
            float* c = (float*)partial.get((whole ? 2 : columns * count + 1) * BLOCK * sizeof(float));
            const int64_t rows = std::min<int64_t>(count * 32, m - first * 32);
            if (scale)
                for (int64_t r = 0; r < rows; ++r) {
                    const float* from = x + (first * 32 + r) * ldx;
                    __m512 sum = _mm512_setzero_ps(), square = sum;
                    for (int64_t i = 0; i < k; i += 16)
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask(k - i), from + i));
                    const float middle = _mm512_reduce_add_ps(sum) / k;
                    for (int64_t i = 0; i < k; i += 16) {
                        const __mmask16 valid = mask(k - i);
                        const __m512 d = _mm512_maskz_sub_ps(valid, _mm512_maskz_loadu_ps(valid, from + i),
                                                             _mm512_set1_ps(middle));
                        square = _mm512_fmadd_ps(d, d, square);
                    }
                    mean[r] = middle;
                    factor[r] = 1 / std::sqrt(_mm512_reduce_add_ps(square) / k + eps);
                }
            for (int64_t start = 0; start < steps; start += LONG) {
                const int64_t length = std::min<int64_t>(LONG, steps - start);
                for (int64_t r = 0; r < count * 32; ++r)
                    for (int64_t i = 0; i < length * 32; i += 16) {
                        const int64_t column = start * 32 + i;
                        const __mmask16 valid = r < rows ? mask(k - column) : 0;
                        __m512 v = _mm512_maskz_loadu_ps(valid, x + (first * 32 + r) * ldx + column);
                        if (scale) {
                            v = _mm512_mul_ps(_mm512_sub_ps(v, _mm512_set1_ps(mean[r])), _mm512_set1_ps(factor[r]));
                            v = _mm512_maskz_fmadd_ps(valid, v, _mm512_maskz_loadu_ps(valid, scale + column),
                                                      _mm512_maskz_loadu_ps(valid, shift + column));
                        }
                        put_left(a + r / 32 * length * STEP, r % 32, i, v);
                    }
                const bool fresh = start == 0, last = start + length == steps;
                Finish done;
                for (int64_t column = 0; column < columns; ++column) {
                    const bf16* b = w + (column * steps + start) * STEP;
                    const char* ahead = (const char*)(b + (column + 1 < columns ? steps * STEP : 0));
                    for (int64_t block = 0; block < count; ++block) {
                        const int64_t number = column * count + block;
                        float* sum = c + (whole ? number % 2 : number) * BLOCK;
                        float* to = y + (first + block) * 32 * ldy + column * 32;
                        const int valid_rows = std::min<int64_t>(32, rows - block * 32);
                        if (fresh) zero_tiles();
                        else load_tiles(sum, 32);
                        const char* own = last ? (const char*)to : (const char*)(sum + BLOCK);
                        const int64_t own_ld = last ? ldy * 4 : 128;
                        int line = 0;
                        multiply(a + block * length * STEP, b, length, [&] {
                            for (int i = 0; i < 3; ++i, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
                            for (int i = 0; i < 3 && line < valid_rows; ++i, ++line) {
                                _mm_prefetch(own + line * own_ld, _MM_HINT_ET0);
                                _mm_prefetch(own + line * own_ld + 64, _MM_HINT_ET0);
                            }
                            done.some(2);
                        });
                        done.some(32);
                        store_tiles(sum, 32);
                        if (last) done = {sum, to, ldy, bias, gate, column * 32, n, valid_rows, mode};
                    }
                }
                done.some(32);
            }
        }
        _tile_release();
    }
}

// out = softmax(q k^T / sqrt(d) + bias) v, m queries, s keys, d a multiple of 16.  Strides in floats.
void tiles_attention(const float* q, int64_t q_token, int64_t q_head, const float* k, const float* v, int64_t kv_token,
                   int64_t kv_head, const float* bias, float* out, int64_t out_token, int64_t out_head, int64_t m,
                   int64_t s, int64_t heads, int64_t d) {
    static thread_local Scratch shared;
    const int64_t dsteps = (d + 31) / 32, wide = dsteps * 32, groups = (s + KEYS - 1) / KEYS, blocks = (m + 31) / 32;
    const int64_t group_size = (KEYS / 32) * dsteps * STEP;  // bf16 of the keys of a group; of the values likewise
    bf16* packed = (bf16*)shared.get(heads * groups * 2 * group_size * sizeof(bf16));
    const int64_t parts = (blocks + QUERIES - 1) / QUERIES;
    const float factor = LOG2_E / std::sqrt((float)d);
#pragma omp parallel
    {
        static thread_local Scratch mine;
        configure();
#pragma omp for collapse(2) schedule(static)
        for (int64_t head = 0; head < heads; ++head)
            for (int64_t group = 0; group < groups; ++group) {
                bf16* keys = packed + (head * groups + group) * 2 * group_size;
                bf16* values = keys + group_size;
                const float* k_from = k + head * kv_head;
                const float* v_from = v + head * kv_head;
                for (int64_t block = 0; block < KEYS / 32; ++block) {
                    const int64_t key = group * KEYS + block * 32;
                    for (int64_t step = 0; step < dsteps; ++step)
                        for (int half = 0; half < 2; ++half) {
                            // keys: [block][step], outer dimension is the key.
                            put_right_transposed(keys + (block * dsteps + step) * STEP + half * TILE,
                                                 k_from + (key + half * 16) * kv_token + step * 32, kv_token,
                                                 s - key - half * 16, d - step * 32);
                            // values: [step of d][block], inner dimension is the key.
                            const int64_t channel = step * 32 + half * 16;
                            put_right(values + (step * (KEYS / 32) + block) * STEP + half * TILE,
                                      v_from + key * kv_token + channel, kv_token, channel < d ? s - key : 0);
                        }
                }
            }
        const int64_t size_q = dsteps * STEP, size_p = (KEYS / 32) * STEP;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t head = 0; head < heads; ++head)
            for (int64_t part = 0; part < parts; ++part) {
                const int64_t first = blocks * part / parts, count = blocks * (part + 1) / parts - first;
                const int64_t floats = 2 * 32 * KEYS + count * 32 * (wide + 2);
                bf16* a = (bf16*)mine.get((count * size_q + 2 * size_p) * sizeof(bf16) + floats * sizeof(float));
                bf16* p = a + count * size_q;
                float* scores = (float*)(p + 2 * size_p);
                float* sum = scores + 2 * 32 * KEYS;
                float* maximum = sum + count * 32 * wide;
                float* total = maximum + count * 32;
                for (int64_t r = 0; r < count * 32; ++r) {
                    const int64_t row = first * 32 + r;
                    maximum[r] = -INFINITY, total[r] = 0;
                    for (int64_t i = 0; i < wide; i += 16) {
                        __m512 x = _mm512_setzero_ps();
                        if (row < m && i < d) x = _mm512_loadu_ps(q + head * q_head + row * q_token + i);
                        put_left(a + r / 32 * size_q, r % 32, i, _mm512_mul_ps(x, _mm512_set1_ps(factor)));
                        _mm512_store_ps(sum + r * wide + i, _mm512_setzero_ps());
                    }
                }
                // Scores of one block, softmax of the one before it, values of the one before that.
                Softmax softmax;
                for (int64_t t = 0; t < groups * count + 2; ++t) {
                    const int64_t now = t - 1;
                    if (now >= 0 && now < groups * count) {
                        const int64_t block = now % count, key = now / count * KEYS;
                        softmax = {scores + now % 2 * 32 * KEYS, p + now % 2 * size_p, maximum + block * 32,
                                   total + block * 32, sum + block * 32 * wide, bias ? bias + key : nullptr,
                                   std::min<int64_t>(KEYS, s - key), wide, 0};
                    }
                    const auto meanwhile = [&] { if (count > 1) softmax.some(1); };
                    if (t < groups * count) {
                        const bf16* keys = packed + (head * groups + t / count) * 2 * group_size;
                        for (int64_t j = 0; j < KEYS / 32; ++j) {
                            zero_tiles();
                            multiply(a + t % count * size_q, keys + j * dsteps * STEP, dsteps, meanwhile);
                            store_tiles(scores + t % 2 * 32 * KEYS + j * 32, KEYS);
                        }
                    }
                    if (t > 1) {
                        const int64_t group = (t - 2) / count;
                        const int steps = (std::min<int64_t>(KEYS, s - group * KEYS) + 31) / 32;
                        const bf16* values = packed + (head * groups + group) * 2 * group_size + group_size;
                        float* to = sum + (t - 2) % count * 32 * wide;
                        for (int64_t step = 0; step < dsteps; ++step) {
                            load_tiles(to + step * 32, wide);
                            multiply(p + t % 2 * size_p, values + step * (KEYS / 32) * STEP, steps, meanwhile);
                            store_tiles(to + step * 32, wide);
                        }
                    }
                    softmax.some(32);
                }
                for (int64_t r = 0; r < std::min<int64_t>(count * 32, m - first * 32); ++r)
                    for (int64_t i = 0; i < d; i += 16)
                        _mm512_storeu_ps(out + (first * 32 + r) * out_token + head * out_head + i,
                                         _mm512_div_ps(_mm512_load_ps(sum + r * wide + i), _mm512_set1_ps(total[r])));
            }
        _tile_release();
    }
}

// Put heads where attention wants them: normalised over all of them by `weight` (null: as they are), and each pair of
// channels turned by (cosine, sine) (null: not turned).  d a multiple of 16; strides in floats.
void tiles_place(const float* x, int64_t m, int64_t ldx, const float* weight, float eps, const float* turn, float* out,
                 int64_t out_token, int64_t out_head, int64_t heads, int64_t d) {
#pragma omp parallel for
    for (int64_t row = 0; row < m; ++row) {
        const float* from = x + row * ldx;
        __m512 factor = _mm512_set1_ps(1.f);
        if (weight) {
            __m512 square = _mm512_setzero_ps();
            for (int64_t i = 0; i < heads * d; i += 16) {
                const __m512 v = _mm512_loadu_ps(from + i);
                square = _mm512_fmadd_ps(v, v, square);
            }
            factor = _mm512_set1_ps(1 / std::sqrt(_mm512_reduce_add_ps(square) / (heads * d) + eps));
        }
        for (int64_t head = 0; head < heads; ++head)
            for (int64_t i = 0; i < d; i += 16) {
                __m512 v = _mm512_loadu_ps(from + head * d + i);
                if (weight)
                    v = _mm512_mul_ps(_mm512_mul_ps(v, factor), _mm512_loadu_ps(weight + head * d + i));
                if (turn) {
                    const __m512 angle = _mm512_loadu_ps(turn + row * d + i);
                    const __m512 crossed = _mm512_mul_ps(_mm512_permute_ps(v, 0xb1), _mm512_movehdup_ps(angle));
                    v = _mm512_fmaddsub_ps(v, _mm512_moveldup_ps(angle), crossed);
                }
                _mm512_storeu_ps(out + row * out_token + head * out_head + i, v);
            }
    }
}
}
