/* llama_tap.h: write the intermediates of a Llama for `llama-np golden check`. C99 and C++.
 *
 *   llama_tap_open("dump");                       an empty directory, for one run
 *   llama_tap("embed", x, dim);                   n floats: one row, or several in a row
 *   llama_tap_layer(i, "q", q, n_heads * hd);     the same for layers.<i>.q
 *
 * Each tap becomes a raw float32 file, dump/<name>.f32. What is written under a name again, by the
 * next token or the next step, is appended: rows come in the order in which they are computed. The
 * golden tells the shape. Until llama_tap_open is called nothing is written. A write that fails
 * ends the program: half a dump would look like a fault of yours.
 */
#ifndef LLAMA_TAP_H
#define LLAMA_TAP_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static char llama_tap_dir[2048];

static inline FILE *llama_tap_file(const char *name, const char *mode, char must) {
    char path[sizeof llama_tap_dir + 256];
    int length = snprintf(path, sizeof path, "%s/%s", llama_tap_dir, name);
    FILE *file = length > 0 && (size_t)length < sizeof path ? fopen(path, mode) : NULL;
    if (!file && must) { fprintf(stderr, "llama_tap.h: cannot write %s\n", path); exit(1); }
    return file;
}

static inline void llama_tap_open(const char *directory) {
    int length = snprintf(llama_tap_dir, sizeof llama_tap_dir, "%s", directory);
    if (length < 0 || (size_t)length >= sizeof llama_tap_dir || llama_tap_file(".tap", "rb", 0)) {
        fprintf(stderr, "llama_tap.h: %s has the dump of another run\n", directory);
        exit(1); /* its rows and ours would follow each other in the same files */
    }
    fclose(llama_tap_file(".tap", "wb", 1));
}

static inline void llama_tap(const char *name, const float *x, size_t n) {
    char leaf[256];
    if (!llama_tap_dir[0]) return;
    snprintf(leaf, sizeof leaf, "%.240s.f32", name);
    FILE *file = llama_tap_file(leaf, "ab", 1);
    for (size_t i = 0; i < n; i++) { /* little-endian on any machine */
        union { float value; uint32_t bits; } u;
        u.value = x[i];
        for (int shift = 0; shift < 32; shift += 8) fputc((int)(u.bits >> shift & 0xff), file);
    }
    if (ferror(file) | fclose(file)) { fprintf(stderr, "llama_tap.h: disk full?\n"); exit(1); }
}

static inline void llama_tap_layer(int i, const char *name, const float *x, size_t n) {
    char full[256];
    snprintf(full, sizeof full, "layers.%d.%.200s", i, name);
    llama_tap(full, x, n);
}
#endif
