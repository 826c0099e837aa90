/* A Llama in C, one token at a time, which writes its taps with llama_tap.h: llama MODEL DUMP.
 *
 * MODEL: the int32 D N H K hd F V T; the float32 eps and theta; T token ids; then the tensors, each
 * (out, in), RoPE's pairs adjacent. Compiled with -DSWAPPED it has a bug: gate and up exchanged.
 */
#include <math.h>
#include "llama_tap.h"

enum { MOST = 64 }; /* layers */
static FILE *in;

static void get(void *to, size_t n) {
    if (fread(to, 4, n, in) != n) exit(2);
}

static float *room(size_t n) {
    float *p = calloc(n, 4);
    if (!p) exit(2);
    return p;
}

static float *tensor(size_t n) {
    float *w = room(n);
    get(w, n);
    return w;
}

static void matmul(float *y, const float *w, const float *x, int rows, int n) {
    for (int i = 0; i < rows; i++) {
        y[i] = 0;
        for (int j = 0; j < n; j++) y[i] += w[(size_t)i * n + j] * x[j];
    }
}

static void rmsnorm(float *y, const float *x, const float *gain, int n, float eps) {
    float sum = 0;
    for (int j = 0; j < n; j++) sum += x[j] * x[j];
    for (int j = 0; j < n; j++) y[j] = x[j] / sqrtf(sum / n + eps) * gain[j];
}

static void rope(float *x, int n, int hd, int pos, float theta) {
    for (int j = 0; j < n; j += 2) {
        double angle = pos * pow(theta, -(double)(j % hd) / hd);
        float c = (float)cos(angle), s = (float)sin(angle), a = x[j], b = x[j + 1];
        x[j] = a * c - b * s;
        x[j + 1] = a * s + b * c;
    }
}

int main(int argc, char **argv) {
    int h[8], ids[1024];
    float f[2];
    if (argc != 3 || !(in = fopen(argv[1], "rb"))) return 2;
    llama_tap_open(argv[2]);
    get(h, 8);
    get(f, 2);
    int D = h[0], N = h[1], H = h[2], K = h[3], hd = h[4], F = h[5], V = h[6], T = h[7];
    if (N > MOST || T > 1024) return 2;
    get(ids, T);
    float *table = tensor((size_t)V * D), *w[MOST][9], *keys[MOST], *values[MOST];
    for (int i = 0; i < N; i++) {
        int sizes[9] = {D, H * hd * D, K * hd * D, K * hd * D, D * H * hd, D, F * D, F * D, D * F};
        for (int j = 0; j < 9; j++) w[i][j] = tensor(sizes[j]);
        keys[i] = room((size_t)T * K * hd), values[i] = room((size_t)T * K * hd);
    }
    float *final_norm = tensor(D), *lm_head = tensor((size_t)V * D);
    float *x = room(D), *y = room(D), *q = room(H * hd), *z = room(H * hd), *p = room(H * T);
    float *gate = room(F), *up = room(F), *logits = room(V);

    for (int pos = 0; pos < T; pos++) {
        for (int j = 0; j < D; j++) x[j] = table[(size_t)ids[pos] * D + j];
        llama_tap("embed", x, D);
        for (int i = 0; i < N; i++) {
            float **at = w[i], *k = keys[i] + pos * K * hd, *v = values[i] + pos * K * hd;
            rmsnorm(y, x, at[0], D, f[0]);
            llama_tap_layer(i, "attn_norm", y, D);
            matmul(q, at[1], y, H * hd, D);
            matmul(k, at[2], y, K * hd, D);
            matmul(v, at[3], y, K * hd, D);
            llama_tap_layer(i, "q", q, H * hd);
            rope(q, H * hd, hd, pos, f[1]);
            rope(k, K * hd, hd, pos, f[1]);
            llama_tap_layer(i, "q_rot", q, H * hd);
            for (int head = 0; head < H; head++) {
                int kv = head / (H / K) * hd, S = pos + 1;
                float *row = p + head * S, most = -INFINITY, sum = 0;
                for (int s = 0; s < S; s++) {
                    row[s] = 0;
                    for (int j = 0; j < hd; j++)
                        row[s] += q[head * hd + j] * keys[i][s * K * hd + kv + j];
                    row[s] /= sqrtf((float)hd);
                    most = fmaxf(most, row[s]);
                }
                for (int s = 0; s < S; s++) sum += row[s] = expf(row[s] - most);
                for (int j = 0; j < hd; j++) z[head * hd + j] = 0;
                for (int s = 0; s < S; s++) {
                    row[s] /= sum;
                    for (int j = 0; j < hd; j++)
                        z[head * hd + j] += row[s] * values[i][s * K * hd + kv + j];
                }
            }
            llama_tap_layer(i, "probs", p, (size_t)H * (pos + 1));
            llama_tap_layer(i, "heads", z, H * hd);
            matmul(y, at[4], z, D, H * hd);
            for (int j = 0; j < D; j++) x[j] += y[j];
            llama_tap_layer(i, "resid_mid", x, D);
            rmsnorm(y, x, at[5], D, f[0]);
            matmul(gate, at[6], y, F, D);
            matmul(up, at[7], y, F, D);
#ifdef SWAPPED
            float *other = gate;
            gate = up, up = other;
#endif
            for (int j = 0; j < F; j++) gate[j] *= up[j] / (1 + expf(-gate[j]));
            llama_tap_layer(i, "swiglu", gate, F);
            matmul(y, at[8], gate, D, F);
            for (int j = 0; j < D; j++) x[j] += y[j];
            llama_tap_layer(i, "resid_post", x, D);
        }
        rmsnorm(y, x, final_norm, D, f[0]);
        matmul(logits, lm_head, y, V, D);
        llama_tap("logits", logits, V);
    }
    return 0;
}
