/* A Llama in C, one token at a time, which writes its taps with llama_tap.h: llama MODEL DUMP.
 *
 * MODEL: the int32 D N H K hd F V T and whether attention and feed-forward have biases; the float32
 * eps, RoPE's magnitude and its hd/2 frequencies; T token ids; then the tensors, each (out, in),
 * RoPE's pairs adjacent, the biases after the matrices of their layer. Compiled with -DACC=double
 * its sums are wider; with -DSWAPPED it has a bug: gate and up exchanged.
 */
#include <math.h>
#include "llama_tap.h"

#ifndef ACC
#define ACC float
#endif

enum { MOST = 64, LONG = 1024 }; /* layers; tokens, of which no probabilities are written */
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

static void linear(float *y, const float *w, const float *b, const float *x, int rows, int n) {
    for (int i = 0; i < rows; i++) {
        ACC sum = 0;
        for (int j = 0; j < n; j++) sum += w[(size_t)i * n + j] * (ACC)x[j];
        y[i] = (float)(b ? sum + b[i] : sum);
    }
}

static void rmsnorm(float *y, const float *x, const float *gain, int n, float eps) {
    ACC sum = 0;
    for (int j = 0; j < n; j++) sum += x[j] * (ACC)x[j];
    float rms = sqrtf((float)(sum / n) + eps);
    for (int j = 0; j < n; j++) y[j] = x[j] / rms * gain[j];
}

static void rope(float *x, int n, int hd, int pos, const float *f, float magnitude) {
    for (int j = 0; j < n; j += 2) {
        float angle = pos * f[j % hd / 2], a = x[j], b = x[j + 1];
        float c = magnitude * cosf(angle), s = magnitude * sinf(angle);
        x[j] = a * c - b * s;
        x[j + 1] = a * s + b * c;
    }
}

int main(int argc, char **argv) {
    int h[10];
    float f[2];
    if (argc != 3 || !(in = fopen(argv[1], "rb"))) return 2;
    llama_tap_open(argv[2]);
    get(h, 10);
    get(f, 2);
    int D = h[0], N = h[1], H = h[2], K = h[3], hd = h[4], F = h[5], V = h[6], T = h[7];
    if (N > MOST) return 2;
    float *turns = tensor(hd / 2);
    int *ids = (int *)tensor(T);
    float *table = tensor((size_t)V * D), *w[MOST][9], *b[MOST][7], *keys[MOST], *values[MOST];
    for (int i = 0; i < N; i++) {
        int sizes[9] = {D, H * hd * D, K * hd * D, K * hd * D, D * H * hd, D, F * D, F * D, D * F};
        int biases[7] = {H * hd, K * hd, K * hd, D, F, F, D};
        for (int j = 0; j < 9; j++) w[i][j] = tensor(sizes[j]);
        for (int j = 0; j < 7; j++) b[i][j] = h[j < 4 ? 8 : 9] ? tensor(biases[j]) : NULL;
        keys[i] = room((size_t)T * K * hd), values[i] = room((size_t)T * K * hd);
    }
    float *final_norm = tensor(D), *lm_head = tensor((size_t)V * D);
    float *x = room(D), *y = room(D), *q = room(H * hd), *z = room(H * hd), *p = room((size_t)H * T);
    float *gate = room(F), *up = room(F), *logits = room(V);

    for (int pos = 0; pos < T; pos++) {
        for (int j = 0; j < D; j++) x[j] = table[(size_t)ids[pos] * D + j];
        llama_tap("embed", x, D);
        for (int i = 0; i < N; i++) {
            float **at = w[i], **bias = b[i];
            float *k = keys[i] + pos * K * hd, *v = values[i] + pos * K * hd;
            rmsnorm(y, x, at[0], D, f[0]);
            llama_tap_layer(i, "attn_norm", y, D);
            linear(q, at[1], bias[0], y, H * hd, D);
            linear(k, at[2], bias[1], y, K * hd, D);
            linear(v, at[3], bias[2], y, K * hd, D);
            llama_tap_layer(i, "q", q, H * hd);
            rope(q, H * hd, hd, pos, turns, f[1]);
            rope(k, K * hd, hd, pos, turns, f[1]);
            llama_tap_layer(i, "q_rot", q, H * hd);
            for (int head = 0; head < H; head++) {
                int kv = head / (H / K) * hd, S = pos + 1;
                float *row = p + (size_t)head * S, most = -INFINITY;
                ACC sum = 0;
                for (int s = 0; s < S; s++) {
                    ACC score = 0;
                    for (int j = 0; j < hd; j++)
                        score += q[head * hd + j] * (ACC)keys[i][s * K * hd + kv + j];
                    row[s] = (float)score / sqrtf((float)hd);
                    most = fmaxf(most, row[s]);
                }
                for (int s = 0; s < S; s++) sum += row[s] = expf(row[s] - most);
                for (int s = 0; s < S; s++) row[s] /= (float)sum;
                for (int j = 0; j < hd; j++) {
                    ACC average = 0;
                    for (int s = 0; s < S; s++)
                        average += row[s] * (ACC)values[i][s * K * hd + kv + j];
                    z[head * hd + j] = (float)average;
                }
            }
            if (T <= LONG) llama_tap_layer(i, "probs", p, (size_t)H * (pos + 1));
            llama_tap_layer(i, "heads", z, H * hd);
            linear(y, at[4], bias[3], z, D, H * hd);
            for (int j = 0; j < D; j++) x[j] += y[j];
            llama_tap_layer(i, "resid_mid", x, D);
            rmsnorm(y, x, at[5], D, f[0]);
            linear(gate, at[6], bias[4], y, F, D);
            linear(up, at[7], bias[5], y, F, D);
#ifdef SWAPPED
            float *other = gate;
            gate = up, up = other;
#endif
            for (int j = 0; j < F; j++) gate[j] *= up[j] / (1 + expf(-gate[j]));
            llama_tap_layer(i, "swiglu", gate, F);
            linear(y, at[8], bias[6], gate, D, F);
            for (int j = 0; j < D; j++) x[j] += y[j];
            llama_tap_layer(i, "resid_post", x, D);
        }
        rmsnorm(y, x, final_norm, D, f[0]);
        linear(logits, lm_head, NULL, y, V, D);
        llama_tap("logits", logits, V);
    }
    return 0;
}
