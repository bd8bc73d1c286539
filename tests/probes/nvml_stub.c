/* A stand-in for NVIDIA's libnvidia-ml.so.1: the functions that bench/probes/gpu.py reaches through pynvml.
 *
 * It tests selection, units, the course of a sampling and every failure without a card. Its driver is called "stub",
 * which no record may hold. Structures and names are those that pynvml.py declares.
 *
 * NVML_STUB_SCENARIO  two-cards (default), no-cards, mig, mig-empty, no-permission, lost, throttled, foreign,
 *                     container, hidden, old, unavailable, hang
 * NVML_STUB_FAIL      function=code[@first[-last]],...: that function returns the code, at its first-th to last-th call
 *                     (counted from 1; all where none is given). "readings" stands for everything that is sampled,
 *                     "metricN" for the return of a single GPM metric.
 *
 * Card i draws 100 (i + 1) + 20 t watts t seconds after the first nvmlInit; its energy counter is the integral of
 * that, and moves every 50 ms as real ones do.
 */

#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
    INVALID_STATE = 29,
};

#define LOST_AFTER_SECONDS 0.6
#define MIG_SLOTS 7
#define MIG_INSTANCE 3 /* the first MIG device's GPU instance; the second's is one more */
#define GIB (1ULL << 30)

typedef struct Device {
    int card; /* the index of the whole card */
    int mig;  /* -1: the card itself, else which MIG device of it */
    const char *uuid, *name;
} Device;

typedef struct { double at; int card, instance; } GpmSample;

/* As pynvml.py declares them. */
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;
typedef struct { unsigned version, sensor; int celsius; } Temperature;
typedef struct { unsigned version, supported; } GpmSupport;
typedef struct { const char *short_name, *long_name, *unit; } MetricInfo;
typedef struct { unsigned id; int result; double value; MetricInfo info; } Metric;
typedef struct { unsigned version, count; GpmSample *first, *second; Metric metrics[]; } Metrics;

static Device devices[] = {
    {0, -1, "GPU-57ab0000-0000-0000-0000-00000000000a", "Stub Accelerator"},
    {1, -1, "GPU-57ab1111-0000-0000-0000-00000000000b", "Stub Accelerator Two"},
    {0, 0, "MIG-57ab2222-0000-0000-0000-00000000000c", "Stub Accelerator MIG 1g"},
    {0, 1, "MIG-57ab3333-0000-0000-0000-00000000000d", "Stub Accelerator MIG 2g"},
};
#define DEVICES (sizeof devices / sizeof devices[0])

static int users, samples;
static double started = -1;

/* For the tests: what was taken and not given back. */
int nvmlStubUsers(void) { return users; }
int nvmlStubSamples(void) { return samples; }

static int scenario(const char *name) {
    const char *now = getenv("NVML_STUB_SCENARIO");
    return !strcmp(now ? now : "two-cards", name);
}

static int mig_on(void) { return scenario("mig") || scenario("mig-empty"); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double t(void) { return now() - started; }

/* The code that NVML_STUB_FAIL has for a call of this name, or SUCCESS. Calls are counted by name. */
static int failure(const char *name) {
    static struct { char name[64]; int calls; } counts[64];
    int slot = 0;
    while (counts[slot].calls && strcmp(counts[slot].name, name)) slot++;
    snprintf(counts[slot].name, sizeof counts[slot].name, "%s", name);
    int call = ++counts[slot].calls;
    const char *rule = getenv("NVML_STUB_FAIL");
    for (; rule && *rule; rule = strchr(rule, ',') ? strchr(rule, ',') + 1 : NULL) {
        char wanted[64];
        int code = 0, first = 1, last = 1 << 30;
        int read = sscanf(rule, "%63[^=]=%d@%d-%d", wanted, &code, &first, &last);
        if (read >= 2 && !strcmp(wanted, name) && call >= first && call <= last) return code;
    }
    return SUCCESS;
}

/* What comes before every call: a library that is in use, and no failure that was asked for. */
#define BEGIN \
    do { \
        if (users <= 0) return UNINITIALIZED; \
        int code = failure(__func__); \
        if (code) return code; \
    } while (0)

/* What comes before every reading of a device. */
#define READ(device) \
    do { \
        BEGIN; \
        if (!(device)) return INVALID_ARGUMENT; \
        if (scenario("lost") && t() > LOST_AFTER_SECONDS) return GPU_IS_LOST; \
        int all = failure("readings"); \
        if (all) return all; \
    } while (0)

static int put(char *to, unsigned length, const char *text) {
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = failure(__func__);
    if (code) return code;
    if (started < 0) started = now();
    users++;
    return SUCCESS;
}

int nvmlShutdown(void) {
    BEGIN;
    users--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    static char text[32];
    snprintf(text, sizeof text, "stub error %d", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    BEGIN;
    return put(version, length, "stub");
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    BEGIN;
    *count = scenario("no-cards") ? 0 : 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    BEGIN;
    if (index > 1) return INVALID_ARGUMENT;
    if (scenario("no-permission") && index == 0) return NO_PERMISSION;
    *device = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    BEGIN;
    for (unsigned i = 0; i < DEVICES; i++) {
        if (strcmp(devices[i].uuid, uuid) || (devices[i].mig >= 0 && !scenario("mig"))) continue;
        if (scenario("no-permission") && devices[i].card == 0) return NO_PERMISSION;
        *device = &devices[i];
        return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetName(Device *device, char *name, unsigned length) {
    BEGIN;
    return put(name, length, device->name);
}

int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned length) {
    BEGIN;
    return put(uuid, length, device->uuid);
}

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    BEGIN;
    if (device->card == 1) return NOT_SUPPORTED; /* a card that cannot do it */
    *current = *pending = mig_on();
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned *count) {
    BEGIN;
    *count = device->card == 0 ? MIG_SLOTS : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **mig) {
    BEGIN;
    if (device->card != 0 || !scenario("mig") || (index != 0 && index != 2)) return NOT_FOUND; /* with a hole */
    *mig = &devices[index == 0 ? 2 : 3];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *mig, Device **device) {
    BEGIN;
    if (mig->mig < 0) return INVALID_ARGUMENT;
    *device = &devices[mig->card];
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(Device *mig, unsigned *id) {
    BEGIN;
    if (mig->mig < 0) return NOT_FOUND;
    *id = MIG_INSTANCE + mig->mig;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device *device, Utilization *rates) {
    READ(device);
    if (device->mig >= 0) return NOT_SUPPORTED;
    rates->gpu = 50 + (unsigned)(t() * 10) % 50;
    rates->memory = 7;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    READ(device);
    memory->total = device->mig < 0 ? 80 * GIB : 10 * GIB;
    memory->used = scenario("unavailable") ? ~0ULL : GIB * (device->mig < 0 ? 4 + device->card : 1);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned *milliwatts) {
    if (scenario("hang") && t() > LOST_AFTER_SECONDS) sleep(3600);
    READ(device);
    if (device->mig >= 0) return NOT_SUPPORTED;
    *milliwatts = scenario("unavailable") ? ~0u : (unsigned)(1000 * (100 * (device->card + 1) + 20 * t()));
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *millijoules) {
    READ(device);
    if (device->mig >= 0 || scenario("old")) return NOT_SUPPORTED;
    double at = floor(t() / 0.05) * 0.05;
    *millijoules = (unsigned long long)(1000 * (1e6 + 100 * (device->card + 1) * at + 10 * at * at));
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(Device *device, unsigned type, unsigned *megahertz) {
    READ(device);
    if (device->mig >= 0) return INVALID_ARGUMENT;
    if (type != 1 && type != 2) return INVALID_ARGUMENT;
    *megahertz = type == 1 ? 1500 + (unsigned)(t() * 100) % 400 : 2619;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(Device *device, Temperature *temperature) {
    READ(device);
    if (device->mig >= 0) return INVALID_ARGUMENT;
    if (temperature->version != ((1u << 24) | sizeof(Temperature))) return ARGUMENT_VERSION_MISMATCH;
    temperature->celsius = 40 + (int)(t() * 2);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(Device *device, unsigned sensor, unsigned *celsius) {
    READ(device);
    if (device->mig >= 0 || sensor != 0) return INVALID_ARGUMENT;
    *celsius = 33;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(Device *device, unsigned long long *reasons) {
    READ(device);
    if (device->mig >= 0) return INVALID_ARGUMENT;
    *reasons = 0x4; /* sw power cap */
    if (scenario("throttled") && t() > LOST_AFTER_SECONDS) *reasons |= 0x8 | 0x40;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *processes) {
    READ(device);
    /* The process that uses the stub is the worker; who started it is the stranger. */
    unsigned pids[2] = {(unsigned)getpid(), (unsigned)getppid()}, found = 1;
    if (scenario("foreign")) found = 2;
    if (scenario("container")) pids[0] = 0x7ffffff0u; /* above any process id of Linux */
    if (scenario("hidden")) found = 0;
    unsigned room = *count;
    *count = found;
    if (room < found) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < found; i++) processes[i] = (Process){pids[i], GIB, ~0u, ~0u};
    return SUCCESS;
}

int nvmlGpmQueryDeviceSupport(Device *device, GpmSupport *support) {
    BEGIN;
    if (device->mig >= 0 || support->version != 1) return INVALID_ARGUMENT;
    support->supported = !scenario("old");
    return SUCCESS;
}

int nvmlGpmSampleAlloc(GpmSample **sample) {
    BEGIN;
    *sample = calloc(1, sizeof(GpmSample));
    samples++;
    return SUCCESS;
}

int nvmlGpmSampleFree(GpmSample *sample) {
    BEGIN;
    free(sample);
    samples--;
    return SUCCESS;
}

int nvmlGpmSampleGet(Device *device, GpmSample *sample) {
    READ(device);
    if (device->mig >= 0) return INVALID_ARGUMENT;
    *sample = (GpmSample){t(), device->card, -1};
    return SUCCESS;
}

int nvmlGpmMigSampleGet(Device *device, unsigned instance, GpmSample *sample) {
    READ(device);
    if (device->mig >= 0 || instance < MIG_INSTANCE || instance > MIG_INSTANCE + 1) return INVALID_ARGUMENT;
    *sample = (GpmSample){t(), device->card, (int)instance};
    return SUCCESS;
}

/* Stricter than the real one, which answers whatever lies between the samples: under a second is refused. */
int nvmlGpmMetricsGet(Metrics *metrics) {
    BEGIN;
    if (metrics->version != 1) return ARGUMENT_VERSION_MISMATCH;
    if (metrics->second->at - metrics->first->at < 1.0) return INVALID_STATE;
    for (unsigned i = 0; i < metrics->count; i++) {
        Metric *metric = &metrics->metrics[i];
        char name[24];
        snprintf(name, sizeof name, "metric%u", metric->id);
        metric->result = failure(name);
        /* 5 times its number on card 0, one more on card 1; on a MIG device the number of its instance more */
        int more = metrics->second->instance < 0 ? metrics->second->card : metrics->second->instance;
        metric->value = metric->id == 12 && scenario("unavailable") ? NAN : metric->id * 5.0 + more;
    }
    return SUCCESS;
}
