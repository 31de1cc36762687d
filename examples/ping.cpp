// ping.cpp: measures round trips to an echo server, by plain operations, each with a deadline: ping PORT [COUNT].
//
// C++17: a class per conversation, terms by LOOP_TERMS.
#include <ringloop.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace
{

class Ping
{
  public:
    Ping(loop *loop, int count) : loop_(loop), left_(count)
    {
    }

    ~Ping()
    {
        if (fd_ >= 0)
            close(fd_);
    }

    int start(const loop_address &address)
    {
        address_ = address;
        return started(
            loop_socket(loop_, address_.storage.ss_family, SOCK_STREAM, 0, step<&Ping::connect>, this, nullptr));
    }

    int error() const
    {
        return error_;
    }

  private:
    // Turns a member function into a callback; a negative result ends the conversation.
    template <void (Ping::*next)(int)> static void step(loop *, const loop_result *result, void *arg)
    {
        auto *ping = static_cast<Ping *>(arg);

        if (result->res < 0)
            ping->error_ = result->res;
        else
            (ping->*next)(result->res);
    }

    int started(loop_id id)
    {
        if (id < 0)
            error_ = static_cast<int>(id);
        return error_;
    }

    void connect(int fd)
    {
        fd_ = fd;
        started(loop_connect(loop_, fd_, reinterpret_cast<sockaddr *>(&address_.storage), address_.size,
                             step<&Ping::send>, this, LOOP_TERMS(.timeout_ns = 2 * LOOP_SECOND)));
    }

    void send(int)
    {
        loop_update_time(loop_);
        sent_ns_ = loop_now(loop_);
        started(loop_send(loop_, fd_, "ping", 4, 0, step<&Ping::receive>, this, LOOP_TERMS(.timeout_ns = LOOP_SECOND)));
    }

    void receive(int)
    {
        started(loop_recv(loop_, fd_, bytes_, sizeof bytes_, MSG_WAITALL, step<&Ping::received>, this,
                          LOOP_TERMS(.timeout_ns = LOOP_SECOND)));
    }

    void received(int size)
    {
        if (size != static_cast<int>(sizeof bytes_) || std::memcmp(bytes_, "ping", sizeof bytes_) != 0) {
            error_ = -EPROTO;
            return;
        }
        std::printf("%.1f us\n", static_cast<double>(loop_now(loop_) - sent_ns_) / 1000);
        if (--left_ > 0)
            send(0);
    }

    loop        *loop_;
    loop_address address_ = {};
    uint64_t     sent_ns_ = 0;
    int          fd_ = -1, left_, error_ = 0;
    char         bytes_[4] = {};
};

} // namespace

int main(int argc, char **argv)
{
    loop        *loop = nullptr;
    loop_address address;
    int r = argc > 1 ? loop_address_parse(&address, "127.0.0.1", static_cast<uint16_t>(std::atoi(argv[1]))) : -EINVAL;

    if (r == 0)
        r = loop_create(&loop, nullptr);
    if (r == 0) {
        Ping ping(loop, argc > 2 ? std::atoi(argv[2]) : 4);

        r = ping.start(address);
        if (r == 0)
            r = loop_run(loop, LOOP_RUN_DEFAULT);
        if (r == 0)
            r = ping.error();
    }
    loop_destroy(loop);
    if (r < 0)
        std::fprintf(stderr, "ping: %s\n", std::strerror(-r));
    return r < 0 ? 1 : 0;
}
