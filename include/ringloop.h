/* ringloop.h: the umbrella header of ringloop, a callback-driven event loop on io_uring. */
#ifndef RINGLOOP_H
#define RINGLOOP_H

#include <ringloop/address.h>
#include <ringloop/buffer.h>
#include <ringloop/bundle.h>
#include <ringloop/dial.h>
#include <ringloop/datagram.h>
#include <ringloop/embed.h>
#include <ringloop/fanout.h>
#include <ringloop/fixed.h>
#include <ringloop/fork.h>
#include <ringloop/forward.h>
#include <ringloop/hooks.h>
#include <ringloop/interface.h>
#include <ringloop/listener.h>
#include <ringloop/loop.h>
#include <ringloop/mode.h>
#include <ringloop/observe.h>
#include <ringloop/op.h>
#include <ringloop/op_device.h>
#include <ringloop/op_file.h>
#include <ringloop/op_path.h>
#include <ringloop/op_poll.h>
#include <ringloop/op_wait.h>
#include <ringloop/opcode.h>
#include <ringloop/post.h>
#include <ringloop/request.h>
#include <ringloop/resolve.h>
#include <ringloop/sendfile.h>
#include <ringloop/socket.h>
#include <ringloop/stream.h>
#include <ringloop/stream_detach.h>
#include <ringloop/subscription.h>
#include <ringloop/tcp.h>
#include <ringloop/timer.h>
#include <ringloop/types.h>
#include <ringloop/unix.h>
#include <ringloop/version.h>
#include <ringloop/walk.h>
#include <ringloop/watch.h>
#include <ringloop/work.h>
#include <ringloop/write.h>
#include <ringloop/zcrx.h>
#include <ringloop/zero_copy.h>

#endif
