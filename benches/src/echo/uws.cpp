// An echo by uWebSockets, started as motews' own servers are: --serve NAME PROCESSOR.
#include "App.h"

#include <cstdio>
#include <cstdlib>
#include <sched.h>

struct Nothing {};

int main(int count, char **arguments) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(std::atoi(arguments[count - 1]), &set);
    sched_setaffinity(0, sizeof set, &set);
    uWS::App::WebSocketBehavior<Nothing> behavior;
    behavior.compression = uWS::DISABLED;
    behavior.maxPayloadLength = 16 * 1024 * 1024;
    behavior.maxBackpressure = 1024 * 1024;
    behavior.message = [](auto *socket, std::string_view message, uWS::OpCode code) {
        socket->send(message, code);
    };
    uWS::App()
        .ws<Nothing>("/*", std::move(behavior))
        .listen("127.0.0.1", 0, [](auto *listening) {
            if (listening) {
                auto *socket = reinterpret_cast<us_socket_t *>(listening);
                std::printf("127.0.0.1:%d\n", us_socket_local_port(0, socket));
                std::fflush(stdout);
            }
        })
        .run();
}
