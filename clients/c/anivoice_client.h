/* A client of anivoice's live protocol (docs/protocol.md) in one file of C99: sockets of the system, nothing else.
 *
 * In one source file:        #define ANIVOICE_CLIENT_IMPLEMENTATION
 *                            #include "anivoice_client.h"
 * In the others:             #include "anivoice_client.h"
 * On Windows link ws2_32.
 *
 *     char why[256];
 *     anivoice_options options = {.host = "127.0.0.1", .port = 8000, .parameters = "{\"events\": true}"};
 *     anivoice_client *client = anivoice_open(&options, why, sizeof why);
 *     while (speaking) {
 *         anivoice_send_audio(client, samples, num_bytes);          // as they are spoken
 *         while (anivoice_receive(client, 0, &message) > 0)         // what has come, without waiting
 *             if (message.kind == ANIVOICE_AUDIO) play(message.data, message.size);
 *     }
 *     anivoice_close(client);
 *
 * A client belongs to one thread at a time. Nothing blocks but anivoice_open, anivoice_reopen and anivoice_receive, each
 * for the time it is given. Encrypted addresses (wss) are not spoken: use a proxy, or the loopback.
 *
 * Licence: MIT, as the rest of anivoice.
 */
#ifndef ANIVOICE_CLIENT_H
#define ANIVOICE_CLIENT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct anivoice_client anivoice_client;

typedef struct {
    const char *host;       /* a name or an address */
    int port;               /* 0: 8000 */
    const char *api_key;    /* NULL: the server has none */
    const char *parameters; /* JSON: the body of POST /convert/stream; NULL: the defaults */
    int timeout_ms;         /* for all of opening; a voice may have to be loaded. 0: 120000 */
} anivoice_options;

typedef enum { ANIVOICE_AUDIO = 1, ANIVOICE_TEXT = 2 } anivoice_kind;

typedef struct {
    anivoice_kind kind;
    const char *data; /* of ANIVOICE_TEXT: JSON that ends with a zero byte; valid until the next call */
    size_t size;      /* bytes, without that zero */
} anivoice_message;

enum {
    ANIVOICE_FULL = -1,  /* sending: the server takes nothing; the frame was dropped */
    ANIVOICE_LOST = -2,  /* the connection is gone: anivoice_reopen within 15 s goes on with the same stream */
    ANIVOICE_ENDED = -3, /* the server ended the stream, or said what is no WebSocket: anivoice_close_code says why */
    ANIVOICE_REFUSED = -4 /* reopening: the session is over */
};

/* Makes a session and connects to it. NULL if that fails; `why` then holds a sentence. */
anivoice_client *anivoice_open(const anivoice_options *options, char *why, size_t why_size);

/* Queues a frame of audio, and sends what can be sent now. 1, or ANIVOICE_FULL, ANIVOICE_LOST, ANIVOICE_ENDED. */
int anivoice_send_audio(anivoice_client *client, const void *bytes, size_t num_bytes);

/* The same with a frame of text: JSON such as {"pitch_change": 12} or {"flush": true}. */
int anivoice_send_text(anivoice_client *client, const char *json);

/* The next message, waiting for it up to `timeout_ms`: 1; 0 if none came; ANIVOICE_LOST or ANIVOICE_ENDED. */
int anivoice_receive(anivoice_client *client, int timeout_ms, anivoice_message *message);

/* After ANIVOICE_LOST: connects again to the same session. 1; ANIVOICE_LOST: try again; ANIVOICE_REFUSED. */
int anivoice_reopen(anivoice_client *client, int timeout_ms);

/* Of the frame with which the server ended the stream; 0 without one. */
int anivoice_close_code(const anivoice_client *client);

/* Ends the stream and frees everything. NULL is allowed. */
void anivoice_close(anivoice_client *client);

/* Whether the text is the event `name` ("ready", "flushed", ...). */
int anivoice_is_event(const char *json, const char *name);

/* The number of the first member `name` at any depth, such as "total" of a `ready`: 1, or 0 if there is none. */
int anivoice_number(const char *json, const char *name, double *value);

/* The same for text, cut to `size`; escapes stay as they are. */
int anivoice_string(const char *json, const char *name, char *value, size_t size);

#ifdef __cplusplus
}
#endif
#endif /* ANIVOICE_CLIENT_H */

#ifdef ANIVOICE_CLIENT_IMPLEMENTATION

#ifdef _WIN32
#define _CRT_RAND_S
#endif
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
typedef SOCKET av_socket;
#define AV_NO_SOCKET INVALID_SOCKET
#define av_poll WSAPoll
#define av_close_socket closesocket
#define AV_WOULD_BLOCK (WSAGetLastError() == WSAEWOULDBLOCK)
#define AV_SEND_FLAGS 0
#else
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
typedef int av_socket;
#define AV_NO_SOCKET (-1)
#define av_poll poll
#define av_close_socket close
#define AV_WOULD_BLOCK (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS || errno == EINTR)
#ifdef MSG_NOSIGNAL
#define AV_SEND_FLAGS MSG_NOSIGNAL
#else
#define AV_SEND_FLAGS 0
#endif
#endif

#define AV_MAX_WAITING (1u << 20)  /* bytes that wait to be sent */
#define AV_MAX_MESSAGE (1u << 24)  /* bytes of a message that is taken */
#define AV_MAX_HEAD 16384          /* bytes of an HTTP answer's head */
#define AV_READ_BYTES 16384
#define AV_FAREWELL_MS 500

typedef struct {
    char *data;
    size_t start, end, capacity;
} av_buffer;

enum { AV_CONTINUED = 0, AV_TEXT = 1, AV_BINARY = 2, AV_CLOSE = 8, AV_PING = 9, AV_PONG = 10 };

struct anivoice_client {
    char host[256], path[256];
    int port, close_code, is_lost, has_ended;
    av_socket socket;
    FILE *entropy; /* /dev/urandom; NULL on Windows */
    av_buffer incoming, outgoing, message;
    int message_opcode;
};

/* ---- the system ---- */

static int64_t av_now_ms(void) {
#ifdef _WIN32
    return (int64_t)GetTickCount64();
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
#endif
}

/* Masks and keys must not be guessable for those who choose what is sent (RFC 6455, 10.3). */
static int av_random(FILE *entropy, unsigned char *bytes, size_t count) {
#ifdef _WIN32
    (void)entropy;
    for (size_t i = 0; i < count; i++) {
        unsigned value;
        if (rand_s(&value) != 0) return 0;
        bytes[i] = (unsigned char)value;
    }
    return 1;
#else
    return entropy && fread(bytes, 1, count, entropy) == count;
#endif
}

/* Waits until the socket can be read or written, or for `until_ms`. The events that came, 0 at the end of the time. */
static int av_wait(av_socket socket, int events, int64_t until_ms) {
    for (;;) {
        int64_t left_ms = until_ms - av_now_ms();
        struct pollfd one;
        one.fd = socket;
        one.events = (short)events;
        one.revents = 0;
        int found = av_poll(&one, 1, left_ms > 0 ? (int)(left_ms < 1000000 ? left_ms : 1000000) : 0);
        if (found > 0) return one.revents;
        if (found == 0 || left_ms <= 0) return 0;
    }
}

static void av_prepare(av_socket socket) {
    int yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&yes, sizeof yes);
#ifdef SO_NOSIGPIPE
    setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
#endif
#ifdef _WIN32
    u_long on = 1;
    ioctlsocket(socket, FIONBIO, &on);
#else
    fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
#endif
}

static int av_is_connected(av_socket socket) {
    int problem = 0;
    socklen_t size = sizeof problem;
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, (char *)&problem, &size) == 0 && problem == 0;
}

static av_socket av_connect(const char *host, int port, int64_t until_ms) {
    char service[16];
    struct addrinfo hints, *all = NULL;
    av_socket connected = AV_NO_SOCKET;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &all) != 0) return AV_NO_SOCKET;
    for (struct addrinfo *one = all; one && connected == AV_NO_SOCKET; one = one->ai_next) {
        av_socket made = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
        if (made == AV_NO_SOCKET) continue;
        av_prepare(made);
        int begun = connect(made, one->ai_addr, (socklen_t)one->ai_addrlen) == 0 || AV_WOULD_BLOCK;
        if (begun && av_wait(made, POLLOUT, until_ms) && av_is_connected(made)) connected = made;
        else av_close_socket(made);
    }
    freeaddrinfo(all);
    return connected;
}

/* ---- bytes ---- */

static size_t av_size(const av_buffer *buffer) { return buffer->end - buffer->start; }

/* Room for `count` bytes behind the end; 0 without memory. */
static int av_reserve(av_buffer *buffer, size_t count) {
    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, av_size(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->end + count <= buffer->capacity) return 1;
    size_t capacity = 2 * (buffer->end + count);
    char *data = (char *)realloc(buffer->data, capacity);
    if (!data) return 0;
    buffer->data = data;
    buffer->capacity = capacity;
    return 1;
}

static int av_append(av_buffer *buffer, const void *bytes, size_t count) {
    if (!av_reserve(buffer, count + 1)) return 0;
    if (count > 0) memcpy(buffer->data + buffer->end, bytes, count);
    buffer->end += count;
    buffer->data[buffer->end] = 0;
    return 1;
}

/* 1; 0 if nothing is there now; -1 if the connection is gone. */
static int av_read(av_socket socket, av_buffer *buffer) {
    if (!av_reserve(buffer, AV_READ_BYTES + 1)) return -1;
    long count = (long)recv(socket, buffer->data + buffer->end, AV_READ_BYTES, 0);
    if (count < 0) return AV_WOULD_BLOCK ? 0 : -1;
    if (count == 0) return -1;
    buffer->end += (size_t)count;
    buffer->data[buffer->end] = 0;
    return 1;
}

static int av_write(av_socket socket, av_buffer *buffer) {
    while (av_size(buffer) > 0) {
        long count = (long)send(socket, buffer->data + buffer->start, av_size(buffer), AV_SEND_FLAGS);
        if (count < 0) return AV_WOULD_BLOCK ? 0 : -1;
        buffer->start += (size_t)count;
    }
    return 1;
}

static int av_write_all(av_socket socket, av_buffer *buffer, int64_t until_ms) {
    int done;
    while ((done = av_write(socket, buffer)) == 0)
        if (!av_wait(socket, POLLOUT, until_ms)) return -1;
    return done;
}

/* ---- the handshake ---- */

static uint32_t av_rotated(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static void av_sha1_block(uint32_t state[5], const unsigned char *block) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 80; i++) w[i] = av_rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t mixed = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999u
                         : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1u
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu
                                  : (b ^ c ^ d) + 0xca62c1d6u;
        uint32_t next = av_rotated(a, 5) + mixed + e + w[i];
        e = d;
        d = c;
        c = av_rotated(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* Of a text of up to 100 bytes (FIPS 180-4). */
static void av_sha1(const char *text, unsigned char digest[20]) {
    uint32_t state[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    unsigned char padded[128] = {0};
    size_t size = strlen(text), total = size < 56 ? 64 : 128;
    memcpy(padded, text, size);
    padded[size] = 0x80;
    padded[total - 2] = (unsigned char)(size * 8 >> 8);
    padded[total - 1] = (unsigned char)(size * 8);
    for (size_t start = 0; start < total; start += 64) av_sha1_block(state, padded + start);
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void av_base64(const unsigned char *bytes, size_t count, char *text) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < count; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (i + 1 < count) three |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < count) three |= bytes[i + 2];
        *text++ = letters[three >> 18];
        *text++ = letters[three >> 12 & 63];
        *text++ = i + 1 < count ? letters[three >> 6 & 63] : '=';
        *text++ = i + 2 < count ? letters[three & 63] : '=';
    }
    *text = 0;
}

/* The status of an HTTP answer whose head has come whole; the head is taken away from `answer` into `head`. 0: not yet. */
static int av_status(av_buffer *answer, char *head) {
    char *end = av_size(answer) ? strstr(answer->data + answer->start, "\r\n\r\n") : NULL;
    if (!end) return 0;
    size_t size = (size_t)(end - (answer->data + answer->start)) + 4;
    if (size >= AV_MAX_HEAD) return -1;
    memcpy(head, answer->data + answer->start, size);
    head[size] = 0;
    answer->start += size;
    return strncmp(head, "HTTP/1.1 ", 9) == 0 ? atoi(head + 9) : -1;
}

/* Sends a request and reads the head of its answer. The status, or -1. */
static int av_request(av_socket socket, const char *request, av_buffer *answer, char *head, int64_t until_ms) {
    av_buffer out = {0};
    int status = -1;
    if (av_append(&out, request, strlen(request)) && av_write_all(socket, &out, until_ms) == 1)
        while ((status = av_status(answer, head)) == 0)
            if (av_size(answer) > AV_MAX_HEAD || !av_wait(socket, POLLIN, until_ms) || av_read(socket, answer) < 0) {
                status = -1;
                break;
            }
    free(out.data);
    return status;
}

static int av_upgrade(anivoice_client *client, int64_t until_ms) {
    unsigned char nonce[16], digest[20];
    char key[32], both[80], expected[64], request[1024], *head = (char *)malloc(AV_MAX_HEAD);
    client->incoming.start = client->incoming.end = client->outgoing.start = client->outgoing.end = 0;
    client->message.start = client->message.end = 0;
    client->message_opcode = 0;
    if (!head || !av_random(client->entropy, nonce, sizeof nonce)) {
        free(head);
        return -1;
    }
    av_base64(nonce, sizeof nonce, key);
    snprintf(both, sizeof both, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    av_sha1(both, digest);
    av_base64(digest, sizeof digest, expected);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
             client->path, client->host, client->port, key);
    client->socket = av_connect(client->host, client->port, until_ms);
    int status = -1;
    if (client->socket != AV_NO_SOCKET) {
        status = av_request(client->socket, request, &client->incoming, head, until_ms);
        if (status == 101 && !strstr(head, expected)) status = -1;
        if (status != 101) {
            av_close_socket(client->socket);
            client->socket = AV_NO_SOCKET;
        }
    }
    free(head);
    return status;
}

static char *av_session_request(const anivoice_options *options, const char *host, int port) {
    const char *body = options->parameters ? options->parameters : "{}", *key = options->api_key;
    size_t size = strlen(body) + (key ? strlen(key) : 0) + strlen(host) + 256;
    char *request = (char *)malloc(size);
    if (request)
        snprintf(request, size,
                 "POST /convert/stream HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n%s%s%s"
                 "Content-Length: %lu\r\nConnection: close\r\n\r\n%s",
                 host, port, key ? "Authorization: Bearer " : "", key ? key : "", key ? "\r\n" : "",
                 (unsigned long)strlen(body), body);
    return request;
}

/* POST /convert/stream: the path of the WebSocket into the client. 1, or 0 with the reason. */
static int av_make_session(anivoice_client *client, const anivoice_options *options, int64_t until_ms, char *why,
                           size_t why_size) {
    av_buffer answer = {0};
    char *head = (char *)malloc(AV_MAX_HEAD), *request = av_session_request(options, client->host, client->port);
    av_socket socket = head && request ? av_connect(client->host, client->port, until_ms) : AV_NO_SOCKET;
    int status = -1, found = 0;
    snprintf(why, why_size, "cannot reach the server at %s:%d", client->host, client->port);
    if (socket != AV_NO_SOCKET) {
        status = av_request(socket, request, &answer, head, until_ms);
        while (status > 0 && av_size(&answer) < AV_MAX_MESSAGE && av_wait(socket, POLLIN, until_ms) &&
               av_read(socket, &answer) >= 0) {
        }
        av_close_socket(socket);
    }
    if (status == 200) found = anivoice_string(answer.data + answer.start, "websocket_url", client->path, sizeof client->path);
    if (status > 0 && !found && !(av_size(&answer) && anivoice_string(answer.data + answer.start, "error", why, why_size)))
        snprintf(why, why_size, "the server answered with status %d", status);
    free(answer.data);
    free(request);
    free(head);
    return found;
}

/* ---- frames ---- */

static int av_frame(anivoice_client *client, int opcode, const void *bytes, size_t count) {
    unsigned char head[14];
    size_t size = 2, place;
    head[0] = (unsigned char)(0x80 | opcode);
    if (count < 126) {
        head[1] = (unsigned char)(0x80 | count);
    } else {
        int num_bytes = count < 65536 ? 2 : 8;
        head[1] = (unsigned char)(0x80 | (num_bytes == 2 ? 126 : 127));
        for (int i = num_bytes - 1; i >= 0; i--) head[size++] = (unsigned char)((uint64_t)count >> (8 * i));
    }
    if (!av_random(client->entropy, head + size, 4)) return 0;
    place = av_size(&client->outgoing) + size + 4;
    if (!av_append(&client->outgoing, head, size + 4) || !av_append(&client->outgoing, bytes, count)) return 0;
    char *masked = client->outgoing.data + client->outgoing.start + place;
    for (size_t i = 0; i < count; i++) masked[i] = (char)(masked[i] ^ (char)head[size + i % 4]);
    return 1;
}

static int av_state(const anivoice_client *client) {
    return client->has_ended ? ANIVOICE_ENDED : client->is_lost ? ANIVOICE_LOST : 1;
}

static int av_lose(anivoice_client *client) {
    if (client->socket != AV_NO_SOCKET) av_close_socket(client->socket);
    client->socket = AV_NO_SOCKET;
    if (!client->has_ended) client->is_lost = 1;
    return av_state(client);
}

static int av_end(anivoice_client *client, int code) {
    client->has_ended = 1;
    client->close_code = code;
    return av_lose(client);
}

static int av_send(anivoice_client *client, int opcode, const void *bytes, size_t count) {
    if (av_state(client) != 1) return av_state(client);
    if (av_size(&client->outgoing) + count > AV_MAX_WAITING + (opcode == AV_BINARY ? 0 : 65536)) return ANIVOICE_FULL;
    if (!av_frame(client, opcode, bytes, count) || av_write(client->socket, &client->outgoing) < 0) return av_lose(client);
    return 1;
}

/* A whole frame has come: 1 if it ends a message, 0 if not, else as anivoice_receive. */
static int av_take(anivoice_client *client, int opcode, int is_last, const char *data, size_t size) {
    switch (opcode) {
        case AV_PING:
            return av_send(client, AV_PONG, data, size) == ANIVOICE_LOST ? ANIVOICE_LOST : 0;
        case AV_PONG:
            return 0;
        case AV_CLOSE: {
            int code = size >= 2 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : 1005;
            av_send(client, AV_CLOSE, data, size < 2 ? 0 : 2);
            return code == 1001 || code == 1012 ? av_lose(client) : av_end(client, code);
        }
        case AV_TEXT:
        case AV_BINARY:
            client->message_opcode = opcode;
            client->message.start = client->message.end = 0;
            break;
        default:
            if (opcode != AV_CONTINUED || !client->message_opcode) return av_end(client, 1002);
    }
    if (!av_append(&client->message, data, size)) return av_lose(client);
    return is_last;
}

/* The next frame of what has come: as av_take, and 2 if it is not there yet. */
static int av_next_frame(anivoice_client *client) {
    const unsigned char *data = (const unsigned char *)client->incoming.data + client->incoming.start;
    size_t have = av_size(&client->incoming), head = 2;
    if (have < 2) return 2;
    uint64_t size = data[1] & 0x7f;
    int num_bytes = size == 126 ? 2 : size == 127 ? 8 : 0;
    if ((data[0] & 0x70) || (data[1] & 0x80)) return av_end(client, 1002);
    if (have < head + (size_t)num_bytes) return 2;
    if (num_bytes) size = 0;
    for (int i = 0; i < num_bytes; i++) size = size << 8 | data[head++];
    if (size + av_size(&client->message) > AV_MAX_MESSAGE) return av_end(client, 1009);
    if (have < head + size) return 2;
    client->incoming.start += head + (size_t)size;
    return av_take(client, data[0] & 0x0f, data[0] >> 7, (const char *)data + head, (size_t)size);
}

static void av_free(anivoice_client *client) {
    if (client->socket != AV_NO_SOCKET) av_close_socket(client->socket);
    if (client->entropy) fclose(client->entropy);
    free(client->incoming.data);
    free(client->outgoing.data);
    free(client->message.data);
    free(client);
}

/* ---- what is declared above ---- */

anivoice_client *anivoice_open(const anivoice_options *options, char *why, size_t why_size) {
    int64_t until_ms = av_now_ms() + (options->timeout_ms ? options->timeout_ms : 120000);
#ifdef _WIN32
    WSADATA started;
    if (WSAStartup(MAKEWORD(2, 2), &started) != 0) {
        snprintf(why, why_size, "Windows has no sockets for us");
        return NULL;
    }
#endif
    anivoice_client *client = (anivoice_client *)calloc(1, sizeof *client);
    if (!client) {
        snprintf(why, why_size, "no memory is left");
        return NULL;
    }
#ifndef _WIN32
    client->entropy = fopen("/dev/urandom", "rb");
#endif
    client->socket = AV_NO_SOCKET;
    client->port = options->port ? options->port : 8000;
    snprintf(client->host, sizeof client->host, "%s", options->host ? options->host : "127.0.0.1");
    if (av_make_session(client, options, until_ms, why, why_size)) {
        int status = av_upgrade(client, until_ms);
        if (status == 101) return client;
        snprintf(why, why_size, "the server refused the WebSocket (status %d)", status);
    }
    av_free(client);
    return NULL;
}

int anivoice_send_audio(anivoice_client *client, const void *bytes, size_t num_bytes) {
    return av_send(client, AV_BINARY, bytes, num_bytes);
}

int anivoice_send_text(anivoice_client *client, const char *json) { return av_send(client, AV_TEXT, json, strlen(json)); }

int anivoice_receive(anivoice_client *client, int timeout_ms, anivoice_message *message) {
    int64_t until_ms = av_now_ms() + timeout_ms;
    for (;;) {
        int got = av_next_frame(client);
        if (got == 1) {
            message->kind = client->message_opcode == AV_TEXT ? ANIVOICE_TEXT : ANIVOICE_AUDIO;
            message->data = client->message.data + client->message.start;
            message->size = av_size(&client->message);
            client->message_opcode = 0;
            return 1;
        }
        if (got < 0) return got;
        if (got == 0) continue;
        if (av_state(client) != 1) return av_state(client);
        int is_waiting = av_size(&client->outgoing) > 0;
        int events = av_wait(client->socket, is_waiting ? POLLIN | POLLOUT : POLLIN, until_ms);
        if (events == 0) return 0;
        if ((events & POLLOUT) && av_write(client->socket, &client->outgoing) < 0) return av_lose(client);
        if ((events & ~POLLOUT) && av_read(client->socket, &client->incoming) < 0) return av_lose(client);
    }
}

int anivoice_reopen(anivoice_client *client, int timeout_ms) {
    if (client->has_ended) return ANIVOICE_REFUSED;
    av_lose(client);
    int status = av_upgrade(client, av_now_ms() + timeout_ms);
    if (status == 101) client->is_lost = 0;
    if (status == 101) return 1;
    return status == 401 || status == 403 || status == 404 ? ANIVOICE_REFUSED : ANIVOICE_LOST;
}

int anivoice_close_code(const anivoice_client *client) { return client->close_code; }

void anivoice_close(anivoice_client *client) {
    if (!client) return;
    const unsigned char normal[2] = {1000 >> 8, 1000 & 255};
    int64_t until_ms = av_now_ms() + AV_FAREWELL_MS;
    anivoice_message message;
    if (av_send(client, AV_CLOSE, normal, sizeof normal) == 1)
        while (av_now_ms() < until_ms && anivoice_receive(client, (int)(until_ms - av_now_ms()), &message) >= 0) {
        }
    av_free(client);
}

/* Behind the colon of the first member `name`; NULL without one. */
static const char *av_member(const char *json, const char *name) {
    size_t size = strlen(name);
    while ((json = strchr(json, '"')) != NULL) {
        const char *start = ++json;
        while (*json && *json != '"') json += json[0] == '\\' && json[1] ? 2 : 1;
        if (!*json) return NULL;
        int is_name = (size_t)(json - start) == size && strncmp(start, name, size) == 0;
        json += 1 + strspn(json + 1, " \t\r\n");
        if (is_name && *json == ':') return json + 1 + strspn(json + 1, " \t\r\n");
    }
    return NULL;
}

int anivoice_number(const char *json, const char *name, double *value) {
    const char *start = av_member(json, name);
    char *end = NULL;
    if (!start || !strchr("-0123456789", *start)) return 0;
    *value = strtod(start, &end);
    return end != start;
}

int anivoice_string(const char *json, const char *name, char *value, size_t size) {
    const char *start = av_member(json, name);
    size_t count = 0;
    if (!start || *start++ != '"') return 0;
    while (start[count] && start[count] != '"') count += start[count] == '\\' && start[count + 1] ? 2 : 1;
    if (!start[count]) return 0;
    snprintf(value, size, "%.*s", (int)count, start);
    return 1;
}

int anivoice_is_event(const char *json, const char *name) {
    char kind[32];
    return anivoice_string(json, "event", kind, sizeof kind) && strcmp(kind, name) == 0;
}

#endif /* ANIVOICE_CLIENT_IMPLEMENTATION */
