// What all kernels borrow: threads, and memory that lasts.
#pragma once

#include <stdint.h>

// Runs `job(context, part)` for all parts below `parts`, on up to that many threads.
typedef void (*Job)(void *context, int64_t part);
void run_parts(Job job, void *context, int64_t parts, int64_t threads);

// Memory that belongs to the calling thread and lasts until its next call; slots do not disturb each other.
void *scratch(int slot, int64_t bytes);
