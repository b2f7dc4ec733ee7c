//! WebSocket over the sockets of an operating system.
