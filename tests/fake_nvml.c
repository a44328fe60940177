/* A libnvidia-ml.so.1 for tests: it answers the calls that fishtune makes from a text file.
 *
 * The file is named by FAKE_NVML and read again at every call, so that a test can take a GPU away between
 * two readings. One `key=value` a line; a key that is absent is answered with "not supported":
 *
 *     init.error=9                      nvmlInit fails with this code (likewise count.error)
 *     driver=580.95.05                  cuda=13000              count=2
 *     0.name=NVIDIA RTX 4090            0.uuid=GPU-…            0.pci=00000000:01:00.0
 *     0.total= 0.reserved= 0.free= 0.used=      bytes; without `reserved`, version 2 of the call is unknown
 *     0.gpu=37 (percent)  0.temperature=61  0.power=120000 (mW)  0.limit=450000  0.cores=16384  0.clock=2520
 *     0.capability=89   0.ecc=1  0.ecc_errors=2   0.mig=1  0.slots=7
 *     0.compute=PID:BYTES,PID:BYTES     0.graphics=…            0.mps=…
 *     0.error=15                        every call about GPU 0 fails with this code
 *     0.handle_error=4                  asking for GPU 0's handle fails with this code
 *     0.mig1.uuid=MIG-…                 the slice in slot 1 of GPU 0; 0.mig1.gi= 0.mig1.ci= 0.mig1.total= …
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { SLICE = 1000 }; /* a handle is 1 + GPU, or SLICE · (1 + GPU) + slot */

typedef unsigned long long bytes_t;
typedef struct { bytes_t total, free, used; } memory_v1;
typedef struct { unsigned version; bytes_t total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned pid; bytes_t used; unsigned gpu_instance, compute_instance; } process;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char address[32];
} pci;

static int opened = 0;

static int lookup(const char *key, char *value, size_t size) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    size_t length = strlen(key);
    int found = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    if (file) fclose(file);
    return found;
}

static int number(const char *key, bytes_t *value) {
    char text[64];
    if (!lookup(key, text, sizeof text)) return NOT_SUPPORTED;
    *value = strtoull(text, NULL, 10);
    return SUCCESS;
}

static int of_device(uintptr_t handle, const char *name, char *key, size_t size) {
    bytes_t error;
    uintptr_t gpu = (handle >= SLICE ? handle / SLICE : handle) - 1;
    char error_key[64];
    if (!opened) return UNINITIALIZED;
    snprintf(error_key, sizeof error_key, "%d.error", (int)gpu);
    if (number(error_key, &error) == SUCCESS) return (int)error;
    if (handle >= SLICE) snprintf(key, size, "%d.mig%d.%s", (int)gpu, (int)(handle % SLICE), name);
    else snprintf(key, size, "%d.%s", (int)gpu, name);
    return SUCCESS;
}

static int ask(uintptr_t handle, const char *name, bytes_t *value) {
    char key[64];
    int status = of_device(handle, name, key, sizeof key);
    return status ? status : number(key, value);
}

static int ask_unsigned(uintptr_t handle, const char *name, unsigned *value) {
    bytes_t wide = 0;
    int status = ask(handle, name, &wide);
    *value = (unsigned)wide;
    return status;
}

static int ask_text(uintptr_t handle, const char *name, char *value, unsigned size) {
    char key[64];
    int status = of_device(handle, name, key, sizeof key);
    return status ? status : lookup(key, value, size) ? SUCCESS : NOT_SUPPORTED;
}

static int processes(uintptr_t handle, const char *name, unsigned *count, process *list) {
    char text[512], *rest = text, *entry;
    unsigned found = 0;
    int status = ask_text(handle, name, text, sizeof text);
    if (status) return status;
    while ((entry = strsep(&rest, ",")) != NULL) {
        char *colon = strchr(entry, ':');
        if (!colon) continue;
        if (list && found < *count) {
            list[found].pid = (unsigned)atoi(entry);
            list[found].used = strtoull(colon + 1, NULL, 10);
            list[found].gpu_instance = list[found].compute_instance = 0xFFFFFFFF;
        }
        found++;
    }
    status = found > (list ? *count : 0) ? TOO_SMALL : SUCCESS;
    *count = found;
    return status;
}

int nvmlInitWithFlags(unsigned flags) {
    bytes_t error;
    (void)flags;
    if (number("init.error", &error) == SUCCESS) return (int)error;
    opened = 1;
    return SUCCESS;
}
int nvmlShutdown(void) { opened = 0; return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 999 ? "Unknown Error" : "Some Error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    return lookup("driver", text, size) ? SUCCESS : NOT_SUPPORTED;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    bytes_t value;
    int status = number("cuda", &value);
    *version = (int)value;
    return status;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    bytes_t value = 0;
    if (!opened) return UNINITIALIZED;
    if (number("count.error", &value) == SUCCESS) return (int)value;
    number("count", &value);
    *count = (unsigned)value;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, uintptr_t *handle) {
    bytes_t error;
    char key[64];
    snprintf(key, sizeof key, "%u.handle_error", index);
    if (number(key, &error) == SUCCESS) return (int)error;
    *handle = index + 1;
    return SUCCESS;
}
int nvmlDeviceGetName(uintptr_t handle, char *text, unsigned size) { return ask_text(handle, "name", text, size); }
int nvmlDeviceGetUUID(uintptr_t handle, char *text, unsigned size) { return ask_text(handle, "uuid", text, size); }
int nvmlDeviceGetPciInfo_v3(uintptr_t handle, pci *info) {
    memset(info, 0, sizeof *info);
    return ask_text(handle, "pci", info->address, sizeof info->address);
}
int nvmlDeviceGetCudaComputeCapability(uintptr_t handle, int *major, int *minor) {
    bytes_t value = 0;
    int status = ask(handle, "capability", &value);
    *major = (int)value / 10;
    *minor = (int)value % 10;
    return status;
}
int nvmlDeviceGetNumGpuCores(uintptr_t handle, unsigned *cores) { return ask_unsigned(handle, "cores", cores); }
int nvmlDeviceGetMaxClockInfo(uintptr_t handle, int kind, unsigned *clock) {
    (void)kind;
    return ask_unsigned(handle, "clock", clock);
}
int nvmlDeviceGetEnforcedPowerLimit(uintptr_t handle, unsigned *limit) { return ask_unsigned(handle, "limit", limit); }
int nvmlDeviceGetPowerUsage(uintptr_t handle, unsigned *power) { return ask_unsigned(handle, "power", power); }
int nvmlDeviceGetTemperature(uintptr_t handle, int sensor, unsigned *degrees) {
    (void)sensor;
    return ask_unsigned(handle, "temperature", degrees);
}
int nvmlDeviceGetUtilizationRates(uintptr_t handle, utilization *rates) {
    rates->memory = 0;
    return ask_unsigned(handle, "gpu", &rates->gpu);
}
int nvmlDeviceGetMemoryInfo(uintptr_t handle, memory_v1 *memory) {
    int status = ask(handle, "total", &memory->total);
    if (!status) status = ask(handle, "free", &memory->free);
    memory->used = memory->total - memory->free;
    return status;
}
int nvmlDeviceGetMemoryInfo_v2(uintptr_t handle, memory_v2 *memory) {
    int status = ask(handle, "reserved", &memory->reserved);
    if (memory->version != 0x02000028) return 25;
    if (!status) status = ask(handle, "total", &memory->total);
    if (!status) status = ask(handle, "free", &memory->free);
    memory->used = memory->total - memory->free - memory->reserved;
    return status;
}
int nvmlDeviceGetEccMode(uintptr_t handle, unsigned *now, unsigned *pending) {
    int status = ask_unsigned(handle, "ecc", now);
    *pending = *now;
    return status;
}
int nvmlDeviceGetTotalEccErrors(uintptr_t handle, int kind, int counter, bytes_t *count) {
    if (kind != 1 || counter != 0) return INVALID; /* uncorrected, since the driver was loaded */
    return ask(handle, "ecc_errors", count);
}
int nvmlDeviceGetMigMode(uintptr_t handle, unsigned *now, unsigned *pending) {
    int status = ask_unsigned(handle, "mig", now);
    *pending = *now;
    return status;
}
int nvmlDeviceGetMaxMigDeviceCount(uintptr_t handle, unsigned *slots) { return ask_unsigned(handle, "slots", slots); }
int nvmlDeviceGetMigDeviceHandleByIndex(uintptr_t handle, unsigned slot, uintptr_t *slice) {
    char uuid[96];
    *slice = SLICE * handle + slot;
    return ask_text(*slice, "uuid", uuid, sizeof uuid) == SUCCESS ? SUCCESS : NOT_FOUND;
}
int nvmlDeviceGetGpuInstanceId(uintptr_t handle, unsigned *id) { return ask_unsigned(handle, "gi", id); }
int nvmlDeviceGetComputeInstanceId(uintptr_t handle, unsigned *id) { return ask_unsigned(handle, "ci", id); }
int nvmlDeviceGetComputeRunningProcesses_v3(uintptr_t handle, unsigned *count, process *list) {
    return processes(handle, "compute", count, list);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(uintptr_t handle, unsigned *count, process *list) {
    return processes(handle, "graphics", count, list);
}
int nvmlDeviceGetMPSComputeRunningProcesses_v3(uintptr_t handle, unsigned *count, process *list) {
    return processes(handle, "mps", count, list);
}
