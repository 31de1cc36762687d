/* loop/uapi.h: parts of the kernel's interface that are newer than the oldest liburing we build with (2.9). */
#ifndef RINGLOOP_LOOP_UAPI_H
#define RINGLOOP_LOOP_UAPI_H

#include <liburing.h>

#ifndef IORING_SETUP_CQE_MIXED
#define IORING_SETUP_CQE_MIXED (1U << 18)
#endif

#ifndef IORING_CQE_F_32
#define IORING_CQE_F_32 (1U << 15)
#endif

#ifndef IORING_CQE_F_SKIP
#define IORING_CQE_F_SKIP (1U << 5)
#endif

/* Of the same release as SQEs of both sizes. */
#ifndef IORING_SETUP_SQE_MIXED
#define IORING_SETUP_SQE_MIXED (1U << 19)
enum { IORING_OP_NOP128 = 63, IORING_OP_URING_CMD128 = 64 };
#endif

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#define IORING_FEAT_NO_IOWAIT  (1U << 17)
#endif

/* Zero-copy receive: headers of liburing 2.10. */
#ifndef IORING_ZCRX_AREA_SHIFT
#define IORING_ZCRX_AREA_SHIFT 48
#define IORING_ZCRX_AREA_MASK  (~(((__u64)1 << IORING_ZCRX_AREA_SHIFT) - 1))

enum { IORING_REGISTER_ZCRX_IFQ = 32, IORING_OP_RECV_ZC = 58 };

struct io_uring_zcrx_rqe {
    __u64 off;
    __u32 len;
    __u32 __pad;
};

struct io_uring_zcrx_offsets {
    __u32 head;
    __u32 tail;
    __u32 rqes;
    __u32 __resv2;
    __u64 __resv[2];
};

struct io_uring_zcrx_area_reg {
    __u64 addr;
    __u64 len;
    __u64 rq_area_token;
    __u32 flags;
    __u32 dmabuf_fd;
    __u64 __resv2[2];
};

struct io_uring_zcrx_ifq_reg {
    __u32                        if_idx;
    __u32                        if_rxq;
    __u32                        rq_entries;
    __u32                        flags;
    __u64                        area_ptr;
    __u64                        region_ptr;
    struct io_uring_zcrx_offsets offsets;
    __u32                        zcrx_id;
    __u32                        __resv2;
    __u64                        __resv[3];
};
#endif

#endif
