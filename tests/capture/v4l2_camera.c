/* Simulates a Video4Linux camera for the process it is preloaded into, without kernel driver or device.

   The camera is at the path V4L2_CAMERA and is controlled through the file V4L2_CONTROL (struct control), which the
   test maps as well. It answers system calls like the kernel's UVC driver: a frame takes a whole period to arrive,
   goes to the buffer that is first in the queue when the frame begins, and is lost if there is none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#define MOST_BUFFERS 8
#define S 1000000000LL
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct control {
    uint32_t formats[4];                   /* offered formats, default first, ended by 0 */
    uint32_t format;                       /* current format, size in px, frames/s */
    int32_t width, height, rate;
    int32_t highest_rate;
    int32_t plugged;                       /* number of times it was plugged in; negative: unplugged */
    int32_t silent, busy, metadata;        /* no frames; in use by another program; not a video node */
    int32_t damaged;                       /* every second MJPG picture is damaged */
    int32_t hanging;                       /* requests for a frame do not return */
    int32_t lost, missed, patience_s;      /* reported: frames lost, failed opens, longest requested wait */
    uint32_t jpeg_bytes;                   /* size of the MJPG picture */
    uint8_t jpeg[8192];
};

static struct { /* of the open camera; the file is the memory of its buffers */
    int fd, plugged, streaming, filling;   /* filling: buffer of the frame that arrives, or -1 */
    unsigned count, size, number;          /* of buffers, bytes of one, of the frame that arrives */
    unsigned queued[MOST_BUFFERS], waiting, done[MOST_BUFFERS], ready; /* first come, first served */
    int64_t end_ns;                        /* of the frame that arrives */
    uint8_t *memory;
} own = {.fd = -1};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static volatile struct control *camera(void) {
    static volatile struct control *held;
    if (!held) {
        int file = REAL(open)(getenv("V4L2_CONTROL"), O_RDWR | O_CLOEXEC);
        held = mmap(NULL, sizeof *held, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (file < 0 || held == MAP_FAILED) abort();
    }
    return held;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * S + now.tv_nsec;
}

static int fail(int reason) {
    errno = reason;
    return -1;
}

static int gone(void) { return camera()->plugged != own.plugged; }

static unsigned pop(unsigned *line, unsigned *length) {
    unsigned first = line[0];
    memmove(line, line + 1, --*length * sizeof *line);
    return first;
}

/* A ramp from dark to bright with a fine texture, a target that moves to the right, and the number of the frame. */
static uint16_t pixel(unsigned x, unsigned y, unsigned number, unsigned width) {
    if (!x && !y) return (uint16_t)(number << 8);
    uint32_t texture = (x * 73856093u ^ y * 19349663u) * 2654435761u;
    uint32_t value = 1000 + 16000 * x / width + (texture >> 23);
    int far = abs((int)x - 20 - (int)(number / 8 < 60 ? number / 8 : 60)) + 2 * abs((int)y - 40);
    return (uint16_t)(far < 4 ? value + (45000 >> far) : value);
}

static void draw(uint8_t *at) {
    unsigned width = (unsigned)camera()->width, area = width * (unsigned)camera()->height;
    if (camera()->format == V4L2_PIX_FMT_MJPEG) {
        memcpy(at, (void *)camera()->jpeg, camera()->jpeg_bytes);
        if (camera()->damaged && own.number % 2) at[0] = 0;
        return;
    }
    for (unsigned i = 0; i < area; i++) {
        uint16_t value = pixel(i % width, i / width, own.number, width);
        switch (camera()->format) {
        case V4L2_PIX_FMT_Y16: at[2 * i] = value & 255, at[2 * i + 1] = value >> 8; break;
        case V4L2_PIX_FMT_YUYV: at[2 * i] = value >> 8, at[2 * i + 1] = 90; break;
        case V4L2_PIX_FMT_UYVY: at[2 * i] = 90, at[2 * i + 1] = value >> 8; break;
        case V4L2_PIX_FMT_BGR24: memset(at + 3 * i, value >> 8, 3); break;
        default: at[i] = value >> 8; /* GREY, and the luma plane of NV12 */
        }
    }
}

static void begin_frame(int64_t begin_ns) {
    own.end_ns = begin_ns + S / camera()->rate;
    own.filling = own.waiting ? (int)pop(own.queued, &own.waiting) : -1;
    if (own.filling < 0) camera()->lost++;
}

/* All that has happened since the last call. */
static void advance(void) {
    if (camera()->silent) own.end_ns = now_ns() + S / camera()->rate;
    while (own.streaming && now_ns() >= own.end_ns) {
        if (own.filling >= 0) {
            draw(own.memory + (size_t)own.filling * own.size);
            own.done[own.ready++] = (unsigned)own.filling;
        }
        own.number++;
        begin_frame(own.end_ns);
    }
}

static unsigned picture_bytes(void) {
    unsigned area = (unsigned)(camera()->width * camera()->height);
    switch (camera()->format) {
    case V4L2_PIX_FMT_GREY: return area;
    case V4L2_PIX_FMT_NV12: return area * 3 / 2;
    case V4L2_PIX_FMT_BGR24: return area * 3;
    case V4L2_PIX_FMT_MJPEG: return camera()->jpeg_bytes;
    default: return 2 * area;
    }
}

static int set_format(const struct v4l2_pix_format *pix) {
    unsigned i = 0;
    if (camera()->busy || own.count) return fail(EBUSY);
    while (camera()->formats[i] && camera()->formats[i] != pix->pixelformat) i++;
    camera()->format = camera()->formats[i] ? camera()->formats[i] : camera()->formats[0];
    camera()->width = (int)pix->width;
    camera()->height = (int)pix->height;
    return 0;
}

static int show_format(struct v4l2_pix_format *pix) {
    *pix = (struct v4l2_pix_format){.width = (unsigned)camera()->width, .height = (unsigned)camera()->height};
    pix->pixelformat = camera()->format;
    pix->field = V4L2_FIELD_NONE;
    pix->sizeimage = picture_bytes();
    pix->bytesperline = pix->sizeimage / pix->height;
    return 0;
}

static void stop(void) { own.streaming = 0, own.waiting = own.ready = 0; }

static int make_buffers(unsigned count) {
    stop();
    if (own.memory) munmap(own.memory, (size_t)own.count * own.size);
    own.memory = NULL;
    own.count = count < MOST_BUFFERS ? count : MOST_BUFFERS;
    own.size = (picture_bytes() + 4095) & ~4095u;
    if (!own.count) return 0;
    if (ftruncate(own.fd, (off_t)own.count * own.size)) return -1;
    own.memory = mmap(NULL, (size_t)own.count * own.size, PROT_READ | PROT_WRITE, MAP_SHARED, own.fd, 0);
    return own.memory == MAP_FAILED ? -1 : 0;
}

static int handle_buffer(unsigned long request, struct v4l2_buffer *buffer) {
    if (request == VIDIOC_DQBUF) {
        if (!own.streaming) return fail(EINVAL);
        if (!own.ready) return fail(EAGAIN);
        buffer->index = pop(own.done, &own.ready);
    }
    if (buffer->index >= own.count) return fail(EINVAL);
    if (request == VIDIOC_QBUF) {
        own.queued[own.waiting++] = buffer->index;
        memset(own.memory + (size_t)buffer->index * own.size, 0, own.size); /* from now on it is the driver's */
    }
    buffer->bytesused = picture_bytes();
    buffer->length = own.size;
    buffer->m.offset = buffer->index * own.size;
    return 0;
}

static int describe(struct v4l2_capability *capability) {
    *capability = (struct v4l2_capability){.driver = "uvcvideo", .card = "Camera"};
    capability->device_caps = camera()->metadata ? V4L2_CAP_META_CAPTURE : V4L2_CAP_VIDEO_CAPTURE;
    capability->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_META_CAPTURE; /* of all nodes of the camera together */
    return 0;
}

static int answer(unsigned long request, void *data) {
    struct v4l2_fract *period = &((struct v4l2_streamparm *)data)->parm.capture.timeperframe;
    struct v4l2_pix_format *pix = &((struct v4l2_format *)data)->fmt.pix;
    if (gone()) return fail(ENODEV);
    advance();
    switch (request) {
    case VIDIOC_QUERYCAP: return describe(data);
    case VIDIOC_G_FMT: return show_format(pix);
    case VIDIOC_S_FMT: return set_format(pix) ? -1 : show_format(pix);
    case VIDIOC_S_PARM:
        camera()->rate = (int)(period->denominator / period->numerator);
        if (camera()->rate > camera()->highest_rate) camera()->rate = camera()->highest_rate; /* fall through */
    case VIDIOC_G_PARM: *period = (struct v4l2_fract){1, (unsigned)camera()->rate}; return 0;
    case VIDIOC_REQBUFS: return make_buffers(((struct v4l2_requestbuffers *)data)->count);
    case VIDIOC_QUERYBUF:
    case VIDIOC_QBUF:
    case VIDIOC_DQBUF: return handle_buffer(request, data);
    case VIDIOC_STREAMON:
        own.streaming = 1;
        own.number = 0;
        camera()->lost = 0;
        begin_frame(now_ns());
        return 0;
    case VIDIOC_STREAMOFF: stop(); return 0;
    default: return fail(ENOTTY);
    }
}

static int open_camera(int flags) {
    if (camera()->plugged < 0) camera()->missed++;
    if (camera()->plugged < 0 || own.fd >= 0) return fail(own.fd >= 0 ? EBUSY : ENOENT);
    own.fd = memfd_create("camera", flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
    own.plugged = camera()->plugged;
    return own.fd;
}

#define OPEN(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                      \
        va_list rest;                                                                                                 \
        va_start(rest, flags);                                                                                        \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                       \
        va_end(rest);                                                                                                 \
        return strcmp(path, getenv("V4L2_CAMERA")) ? REAL(name)(path, flags, mode) : open_camera(flags);              \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd == own.fd) {
        make_buffers(0);
        own.fd = -1;
    }
    return REAL(close)(fd);
}

int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (fd < 0 || fd != own.fd) return REAL(ioctl)(fd, request, data);
    while (request == VIDIOC_DQBUF && camera()->hanging) usleep(1000);
    pthread_mutex_lock(&lock);
    int result = answer(request, data);
    pthread_mutex_unlock(&lock);
    return result;
}

int select(int count, fd_set *reading, fd_set *writing, fd_set *failing, struct timeval *patience) {
    if (own.fd < 0 || count != own.fd + 1 || !reading || !FD_ISSET(own.fd, reading))
        return REAL(select)(count, reading, writing, failing, patience);
    int64_t end_ns = now_ns() + patience->tv_sec * S + patience->tv_usec * 1000;
    if (patience->tv_sec > camera()->patience_s) camera()->patience_s = (int32_t)patience->tv_sec;
    for (; now_ns() < end_ns; nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)) {
        pthread_mutex_lock(&lock);
        advance();
        int ready = gone() || !own.streaming || own.ready;
        pthread_mutex_unlock(&lock);
        if (ready) return 1;
    }
    FD_ZERO(reading);
    return 0;
}
