/* Preloaded into a run to make a process hang in C code, like a driver that hangs, as long as a file is named after its id.

   getppid is a call that every stage makes between two frames. While it blocks, Python runs no signal handlers, and
   because the interpreter lock is held, no other thread either. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

pid_t getppid(void) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%d", getenv("WEDGE_FOLDER"), (int)getpid());
    while (!access(name, F_OK)) usleep(10000);
    return (pid_t)syscall(SYS_getppid);
}
